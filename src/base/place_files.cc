// Moves files between a staged directory and the one that its result goes to, undoes and completes.
#include "ptq/base/place_files.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <set>
#include <system_error>
#include <utility>

#include "system.h"
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/folders.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

/// Below the staged directory: the replaced files, and an empty file from the moment at which all
/// of them are there.
constexpr const char* kPrevious = ".previous";
constexpr const char* kPlacing = ".placing";

bool IsModel(const fs::path& file) { return file.extension() == ".onnx"; }

bool IsPlainDirectory(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(fs::symlink_status(path, error));
}

/// The result's files, models last.
std::vector<fs::path> ResultIn(const fs::path& staged) {
  std::vector<fs::path> files;
  for (auto entry = fs::recursive_directory_iterator(staged);
       entry != fs::recursive_directory_iterator(); ++entry) {
    fs::path name = entry->path().lexically_relative(staged);
    if (name == kPrevious) entry.disable_recursion_pending();
    if (name == kPrevious || name == kPlacing || name == kLockName) continue;
    if (!entry->is_directory() || entry->is_symlink()) files.push_back(std::move(name));
  }
  std::ranges::sort(files);
  std::ranges::stable_sort(files, {}, IsModel);
  return files;
}

/// Makes the folders above `name` below `root`; none of them may be a link.
void MakeFoldersAbove(const fs::path& root, const fs::path& name) {
  fs::path at = root;
  for (const fs::path& part : name.parent_path()) {
    at /= part;
    if (::mkdir(at.c_str(), 0755) == 0) continue;
    const std::string why = std::strerror(errno);
    if (errno != EEXIST) throw OutputError("cannot create '" + at.string() + "': " + why);
    if (!IsPlainDirectory(at)) {
      throw OutputError("'" + at.string() + "' is in the way: it is not a directory");
    }
  }
}

void RemoveEmptyFoldersAbove(const fs::path& root, const fs::path& name) {
  std::error_code ignored;
  for (fs::path at = name.parent_path(); !at.empty(); at = at.parent_path()) {
    if (::rmdir((root / at).c_str()) != 0) return;
  }
}

/// Moves that can be taken back.
class Moves {
 public:
  void Do(const fs::path& from, const fs::path& to, const fs::path& name) {
    done_.push_back({from, to, name});
    MakeFoldersAbove(to, name);
    RenameToNew(from / name, to / name);
  }
  /// The last one may have failed.
  void Undo() noexcept {
    for (auto move = done_.rbegin(); move != done_.rend(); ++move) {
      const fs::path back = move->from / move->name;
      if (!IsTaken(back)) (void)::rename((move->to / move->name).c_str(), back.c_str());
      RemoveEmptyFoldersAbove(move->to, move->name);
    }
  }

 private:
  struct Move {
    fs::path from, to, name;
  };
  std::vector<Move> done_;
};

void SyncFolders(const fs::path& root, const std::vector<fs::path>& names) {
  std::set<fs::path> folders = {fs::path()};
  for (const fs::path& name : names) folders.insert(name.parent_path());
  for (const fs::path& folder : folders) SyncDirectory(root / folder);
}

/// The replaced files first: while they alone are there, they would be moved back.
void RemoveStaged(const fs::path& staged) {
  std::error_code ignored;
  fs::remove_all(staged / kPrevious, ignored);
  fs::remove_all(staged, ignored);
}

}  // namespace

int TryLock(const fs::path& staged, int flags) {
  const fs::path file = staged / kLockName;
  const int lock = ::open(file.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | flags, 0644);
  if (lock < 0) return -1;
  struct stat own {};
  struct stat there {};
  int why = ::flock(lock, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
  // The process that held it may have ended, and taken the file with it.
  const bool same = ::fstat(lock, &own) == 0 && ::lstat(file.c_str(), &there) == 0 &&
                    own.st_ino == there.st_ino && own.st_dev == there.st_dev;
  if (why == 0 && !same) why = EWOULDBLOCK;
  if (why == 0) return lock;
  ::close(lock);
  errno = why;
  return -1;
}

void RenameToNew(const fs::path& from, const fs::path& to) {
  int failed = ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE);
  if (failed != 0 && (errno == EINVAL || errno == ENOSYS)) {  // the file system knows no flags
    struct stat info {};
    if (::lstat(to.c_str(), &info) == 0) {
      errno = EEXIST;
    } else {
      failed = ::rename(from.c_str(), to.c_str());
    }
  }
  if (failed == 0) return;
  const std::string why = errno == EEXIST ? "something that no run wrote has appeared there"
                                          : std::string(std::strerror(errno));
  throw OutputError("cannot write '" + to.string() + "': " + why);
}

void PlaceFiles(const fs::path& from, const fs::path& to, const std::vector<fs::path>& replaced) {
  std::vector<fs::path> old = replaced;
  std::ranges::stable_sort(old, {}, [](const fs::path& file) { return !IsModel(file); });
  const std::vector<fs::path> files = ResultIn(from);
  Moves moves;
  try {
    if (!old.empty()) MakeFolders(from / kPrevious);
    for (const fs::path& name : old) moves.Do(to, from / kPrevious, name);
    WriteFile(from / kPlacing, "");
    SyncDirectory(from);
    for (const fs::path& name : files) moves.Do(from, to, name);
  } catch (const std::exception&) {
    moves.Undo();
    std::error_code ignored;
    fs::remove(from / kPlacing, ignored);
    fs::remove(from / kPrevious, ignored);
    throw;
  }
  SyncFolders(to, files);
  for (const fs::path& name : old) RemoveEmptyFoldersAbove(to, name);
  RemoveStaged(from);
}

bool IsPlacementUnfinished(const fs::path& from) {
  return IsPlainDirectory(from) && (IsTaken(from / kPlacing) || IsPlainDirectory(from / kPrevious));
}

void RecoverPlacement(const fs::path& from, const fs::path& to) {
  if (!IsPlacementUnfinished(from)) return;
  const bool forward = IsTaken(from / kPlacing);
  const int lock = TryLock(from, 0);
  if (lock < 0 && errno == EWOULDBLOCK) return;  // it is still at work
  const fs::path source = forward ? from : from / kPrevious;
  for (const fs::path& name : ResultIn(source)) {
    MakeFoldersAbove(to, name);
    RenameToNew(source / name, to / name);
  }
  RemoveStaged(from);
  if (lock >= 0) ::close(lock);
}

void RemoveFiles(const fs::path& directory, const std::vector<fs::path>& files) {
  for (const fs::path& name : files) {
    std::error_code error;
    if (!IsPlainDirectory(directory / name)) fs::remove(directory / name, error);
    if (error) return;
    RemoveEmptyFoldersAbove(directory, name);
  }
  ::rmdir(directory.c_str());
}

}  // namespace ptq
