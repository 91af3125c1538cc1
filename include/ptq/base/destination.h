// Where a result goes: what stands there, what of it may be replaced, and how the result gets
// there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ptq {

/// A file of a result, by its name below the result's directory.
struct WrittenFile {
  std::filesystem::path name;
  int64_t bytes = -1;       ///< -1: not known
  std::string sha256 = {};  ///< of its bytes; empty: not known
};

/// What may be replaced: only what an earlier run wrote, and only when that is wanted.
struct Replacement {
  bool overwrite = false;
  /// The files of a directory that an earlier run wrote; nothing when none did. Without a function
  /// no directory is known to be written by one.
  std::function<std::optional<std::vector<WrittenFile>>(const std::filesystem::path&)> written;
};

/// A directory that a result may be given.
struct Destination {
  std::filesystem::path directory;  ///< absolute; links of the part that exists are resolved
  bool exists = false;
  /// Files are moved into the directory one by one, since it cannot change its name or holds
  /// something else: the working directory, a mount point, what a link leads to, a directory whose
  /// parent cannot be written, one with files of other origin, which stay.
  bool in_place = false;
  std::vector<std::filesystem::path> replaced;  ///< files below the directory, of an earlier result

  /// Where the result is collected until it is complete: `.NAME.part` beside the directory, or in
  /// it when files are moved.
  [[nodiscard]] std::filesystem::path Staging() const;
};

/// Looks, and changes nothing. Throws OutputError with the reason when `path` may not be given a
/// result: it is no directory, holds files that no run wrote, or those of an earlier run without
/// `replacement.overwrite`, or such a file is not what was written.
[[nodiscard]] Destination Examine(const std::filesystem::path& path,
                                  const Replacement& replacement);

/// For the file that a command is asked to write: throws OutputError when something else than a
/// file has the name (a link, a directory, a device), or when it is one of `inputs`.
void CheckOutputFile(const std::filesystem::path& file,
                     const std::vector<std::filesystem::path>& inputs);

/// Removes "<file>.part", which an AtomicFile of that name would refuse, when a killed process left
/// it: nobody writes it, and it is empty or its first 4 KiB hold `mark`.
void RemoveLeftover(const std::filesystem::path& file, std::string_view mark);

}  // namespace ptq
