// Makes, lists, moves and removes folders; what fails is an error of the kind that it is.
#pragma once

#include <filesystem>
#include <vector>

namespace ptq {

/// Makes a folder and those above it that are missing. Throws OutputError.
void MakeFolders(const std::filesystem::path& folder);

/// The paths of what is in a folder, sorted; nothing where there is no folder. Throws InputError
/// when it cannot be read: to take it for an empty one would leave files out without a word.
[[nodiscard]] std::vector<std::filesystem::path> EntriesOf(const std::filesystem::path& folder);

/// The names of all files below a folder, relative to it, sorted. Throws OutputError when a folder,
/// which is one of ours, cannot be read.
[[nodiscard]] std::vector<std::filesystem::path> FilesBelow(const std::filesystem::path& folder);

/// Renames a file, in place of another one. Throws OutputError.
void MoveFile(const std::filesystem::path& from, const std::filesystem::path& to);

/// Removes a file, or a folder with all that is in it; nothing is well, too. Throws OutputError.
void RemoveAll(const std::filesystem::path& path);

}  // namespace ptq
