// Moves the files of a finished result into a directory that keeps its name and what else is there.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace ptq {

/// Held by the process that works in a staged directory; no file of a result.
inline constexpr char kLockName[] = "lock";

/// The lock of a staged directory, open and held, or -1 with what prevents it in errno: EWOULDBLOCK
/// when another process holds it, or has just removed it. It goes with the process, however that
/// ends. `flags`: O_CREAT, or 0.
[[nodiscard]] int TryLock(const std::filesystem::path& staged, int flags);

/// Renames and never replaces: throws OutputError when `to` exists.
void RenameToNew(const std::filesystem::path& from, const std::filesystem::path& to);

/// Moves the files `replaced` of `to` into `from`, then those of `from` into `to`, each by a
/// rename. Models (.onnx) go first and come last, so that none is ever seen beside data of another.
/// No other file is replaced and no link is followed. When something cannot be moved, everything is
/// moved back: throws OutputError. Once the moves are on the disk, the replaced
/// files and `from` itself are removed. One file system holds both.
void PlaceFiles(const std::filesystem::path& from, const std::filesystem::path& to,
                const std::vector<std::filesystem::path>& replaced);

/// Whether a PlaceFiles out of `from` was killed, or is at work.
[[nodiscard]] bool IsPlacementUnfinished(const std::filesystem::path& from);

/// Completes a PlaceFiles that was killed; when it had moved no new file yet, moves the old ones
/// back and removes `from`. Does nothing when there was none, or it is still at work.
void RecoverPlacement(const std::filesystem::path& from, const std::filesystem::path& to);

/// Removes `files` of a directory in their order, until one cannot be removed, the folders that
/// this empties, and the directory when it is empty. Nothing else is removed, whatever is there.
void RemoveFiles(const std::filesystem::path& directory,
                 const std::vector<std::filesystem::path>& files);

}  // namespace ptq
