// Makes, locks, takes over and commits the directory that a result is written to.
#include "ptq/base/staged_directory.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "system.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/place_files.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

constexpr char kNotMade[] = "it holds files, and no run made it";

/// Where the old directory is while the new one takes its name, if the two cannot be exchanged.
fs::path AsideOf(const fs::path& staging) { return staging.string() + ".old"; }

/// The names of an earlier result's files in a directory, also of one that has stepped aside.
std::vector<fs::path> WrittenIn(const fs::path& directory, const Replacement& replacement) {
  std::vector<fs::path> names;
  if (!replacement.written) return names;
  for (const WrittenFile& file :
       replacement.written(directory).value_or(std::vector<WrittenFile>())) {
    names.push_back(file.name);
  }
  return names;
}

[[noreturn]] void InTheWay(const fs::path& path, const std::string& why) {
  throw OutputError("'" + path.string() + "' is in the way of what is to be written: " + why +
                    "; move it away, or choose another --dst");
}

/// Throws for what stands under the name of a staged directory and cannot be one.
void CheckIsOwnDirectory(const fs::path& staging) {
  struct stat info {};
  if (::lstat(staging.c_str(), &info) != 0) InTheWay(staging, ErrnoText());
  if (S_ISLNK(info.st_mode)) InTheWay(staging, "it is a link");
  if (!S_ISDIR(info.st_mode)) InTheWay(staging, "it is not a directory");
  if (info.st_uid != ::geteuid()) InTheWay(staging, "it belongs to another user");
}

/// TryLock has failed, with the reason in errno.
[[noreturn]] void RefuseLock(const fs::path& staging, const fs::path& directory) {
  const std::string why = ErrnoText();
  if (errno == EWOULDBLOCK) {
    throw OutputError("another run is writing '" + directory.string() +
                      "'; wait for it, or choose another --dst");
  }
  if (errno == ELOOP) InTheWay(staging / kLockName, "it is a link");
  throw OutputError("cannot write in '" + staging.string() + "': " + why);
}

[[noreturn]] void RefuseToCreate(const fs::path& directory, const std::string& why) {
  throw OutputError("cannot create '" + directory.string() + "': " + why);
}

[[noreturn]] void RefuseParent(const fs::path& parent) {
  throw OutputError("the destination's parent '" + parent.string() + "' is not a directory");
}

[[noreturn]] void RefuseToStageIn(const fs::path& parent, const std::string& why) {
  throw OutputError("cannot create a directory in '" + parent.string() + "': " + why);
}

/// Whether the staged directory, or those above it, could be made.
void CheckCanMake(const fs::path& staging) {
  fs::path missing = staging;
  fs::path above = staging.parent_path();
  for (; !IsTaken(above); above = above.parent_path()) missing = above;
  std::error_code error;
  const bool directory = fs::is_directory(above, error);
  if (directory && ::faccessat(AT_FDCWD, above.c_str(), W_OK | X_OK, AT_EACCESS) == 0) return;
  const std::string why = directory ? ErrnoText() : std::strerror(ENOTDIR);
  if (missing != staging) RefuseToCreate(missing, why);
  if (directory) RefuseToStageIn(above, why);
  RefuseParent(above);
}

/// The directory with links resolved, as far as it exists.
Destination PlaceOf(const fs::path& destination, std::error_code& error) {
  Destination at;
  at.directory = fs::weakly_canonical(fs::absolute(destination, error), error);
  if (!at.directory.has_filename()) at.directory = at.directory.parent_path();
  return at;
}

/// A Commit that was killed when it had taken the lock away: its result gets its name, or what it
/// had still to remove, the result that another has replaced, goes.
void FinishUnlocked(const fs::path& staging, const fs::path& destination,
                    const Replacement& replacement) {
  std::error_code error;
  if (!fs::is_directory(fs::symlink_status(staging, error)) || IsTaken(staging / kLockName)) return;
  const std::vector<fs::path> written = WrittenIn(staging, replacement);
  if (!written.empty() && !IsTaken(destination)) {
    RenameToNew(staging, destination);
  } else {
    RemoveFiles(staging, written);
  }
}

/// What a run that resumes goes on with is what a run wrote: files and directories.
void CheckLeftovers(const fs::path& staging) {
  for (const auto& entry : fs::recursive_directory_iterator(staging)) {
    struct stat info {};
    if (::lstat(entry.path().c_str(), &info) != 0) continue;
    if (S_ISDIR(info.st_mode) || (S_ISREG(info.st_mode) && info.st_nlink == 1)) continue;
    InTheWay(entry.path(), "no run made this link or device");
  }
}

}  // namespace

StagedDirectory::StagedDirectory(const fs::path& destination, Replacement replacement, bool resume)
    : replacement_(std::move(replacement)) {
  Recover(destination, replacement_);
  place_ = Examine(destination, replacement_);
  staging_ = place_.Staging();
  try {
    MakeParents();
    MakeStaging();
    Lock();
    if (found_) TakeOver(resume);
  } catch (const std::exception&) {
    if (lock_ >= 0) ::close(lock_);
    if (!found_) {
      std::error_code ignored;
      fs::remove(staging_ / kLockName, ignored);
      ::rmdir(staging_.c_str());
    }
    RemoveParents();
    throw;
  }
}

fs::path StagedDirectory::PathFor(const fs::path& destination) {
  std::error_code error;
  Destination at = PlaceOf(destination, error);
  at.in_place = true;
  if (IsOne(at.Staging())) return at.Staging();
  at.in_place = false;
  return at.Staging();
}

bool StagedDirectory::IsOne(const fs::path& path) {
  const std::string name = path.filename().string();
  std::error_code error;
  return name.starts_with('.') && name.ends_with(".part") &&
         fs::is_directory(fs::symlink_status(path, error)) &&
         fs::is_regular_file(fs::symlink_status(path / kLockName, error));
}

bool StagedDirectory::IsInUse(const fs::path& path) {
  const int lock = TryLock(path, 0);
  if (lock >= 0) ::close(lock);
  return lock < 0;
}

bool StagedDirectory::RemoveUnused(const fs::path& path) {
  const int lock = IsOne(path) ? TryLock(path, 0) : -1;
  if (lock < 0) return false;
  std::error_code error;
  fs::remove_all(path, error);
  ::close(lock);
  return !error;
}

void StagedDirectory::Check(const fs::path& destination, const Replacement& replacement,
                            bool resume) {
  if (IsUnfinished(destination, replacement)) return;
  const Destination place = Examine(destination, replacement);
  const fs::path staging = place.Staging();
  if (!IsTaken(staging)) return CheckCanMake(staging);
  CheckIsOwnDirectory(staging);
  std::error_code error;
  if (!IsTaken(staging / kLockName)) {
    const bool ours = fs::is_empty(staging, error) || !WrittenIn(staging, replacement).empty();
    if (!ours) InTheWay(staging, kNotMade);
    return;
  }
  const int lock = TryLock(staging, 0);
  if (lock < 0) RefuseLock(staging, place.directory);
  ::close(lock);
  if (resume) CheckLeftovers(staging);
}

bool StagedDirectory::IsUnfinished(const fs::path& destination, const Replacement& replacement) {
  std::error_code error;
  Destination at = PlaceOf(destination, error);
  if (error || !at.directory.has_filename()) return false;
  const fs::path aside = AsideOf(at.Staging());
  if (IsTaken(aside) && !WrittenIn(aside, replacement).empty()) return true;
  return std::ranges::any_of(std::array{false, true}, [&](bool in_place) {
    at.in_place = in_place;
    return IsPlacementUnfinished(at.Staging());
  });
}

void StagedDirectory::Recover(const fs::path& destination, const Replacement& replacement) {
  std::error_code error;
  Destination at = PlaceOf(destination, error);
  if (error || !at.directory.has_filename()) return;
  const fs::path aside = AsideOf(at.Staging());
  if (IsTaken(aside) && !WrittenIn(aside, replacement).empty()) {
    if (IsTaken(at.directory)) {
      RemoveFiles(aside, WrittenIn(aside, replacement));
    } else {
      fs::rename(aside, at.directory, error);
    }
  }
  for (const bool in_place : {false, true}) {
    at.in_place = in_place;
    RecoverPlacement(at.Staging(), at.directory);
    FinishUnlocked(at.Staging(), at.directory, replacement);
  }
}

void StagedDirectory::MakeParents() {
  for (fs::path at = staging_.parent_path(); !IsTaken(at); at = at.parent_path()) {
    parents_.push_back(at);
  }
  std::ranges::reverse(parents_);
  for (size_t i = 0; i < parents_.size(); ++i) {
    if (::mkdir(parents_[i].c_str(), 0755) == 0 || errno == EEXIST) {
      SyncDirectory(parents_[i].parent_path());
      continue;
    }
    const std::string why = ErrnoText();
    const fs::path parent = parents_[i];
    parents_.resize(i);
    RefuseToCreate(parent, why);
  }
  std::error_code error;
  if (!fs::is_directory(staging_.parent_path(), error)) RefuseParent(staging_.parent_path());
}

void StagedDirectory::RemoveParents() {
  for (auto at = parents_.rbegin(); at != parents_.rend(); ++at) ::rmdir(at->c_str());
}

/// A directory of ours alone: made here, or left by a run, which has locked it.
void StagedDirectory::MakeStaging() {
  if (::mkdir(staging_.c_str(), 0755) == 0) return;
  const std::string why = ErrnoText();
  found_ = errno == EEXIST;
  if (!found_) RefuseToStageIn(staging_.parent_path(), why);
  CheckIsOwnDirectory(staging_);
  // What stands there without a lock is an earlier result that another has replaced.
  if (IsTaken(staging_ / kLockName)) return;
  const auto written = WrittenIn(staging_, replacement_);
  if (!written.empty()) RemoveFiles(staging_, written);
  if (::mkdir(staging_.c_str(), 0755) == 0) return;
  std::error_code error;
  if (!fs::is_empty(staging_, error)) InTheWay(staging_, kNotMade);
}

void StagedDirectory::Lock() {
  lock_ = TryLock(staging_, O_CREAT);
  if (lock_ >= 0) return;
  if (errno == EWOULDBLOCK) found_ = true;
  RefuseLock(staging_, place_.directory);
}

void StagedDirectory::TakeOver(bool resume) {
  if (resume) return CheckLeftovers(staging_);
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(staging_)) {
    if (entry.path().filename() != kLockName) fs::remove_all(entry.path(), ignored);
  }
}

StagedDirectory::~StagedDirectory() {
  std::error_code ignored;
  const bool remove = !staging_.empty() && !keep_;
  if (remove) fs::remove_all(staging_, ignored);
  if (remove) RemoveParents();
  if (lock_ >= 0) ::close(lock_);
}

void StagedDirectory::Commit() {
  std::string why;
  try {
    Sync();
    Place();
    staging_.clear();
    return;
  } catch (const OutputError& error) {
    why = error.what();
  } catch (const fs::filesystem_error& error) {
    why = "cannot write '" + place_.directory.string() + "': " + error.code().message();
  }
  throw OutputError(why + "; the finished result is in '" + GiveOtherName().string() + "'");
}

void StagedDirectory::Sync() const {
  for (const auto& entry : fs::recursive_directory_iterator(staging_)) {
    if (entry.is_regular_file()) SyncFile(entry.path());
    if (entry.is_directory()) SyncDirectory(entry.path());
  }
  SyncDirectory(staging_);
}

void StagedDirectory::Place() {
  const Destination now = Examine(place_.directory, replacement_);
  if (now.in_place || place_.in_place) {
    PlaceFiles(staging_, now.directory, now.replaced);
    return;
  }
  std::error_code error;
  fs::remove(staging_ / kLockName, error);
  if (error)
    throw OutputError("cannot remove '" + (staging_ / kLockName).string() +
                      "': " + error.message());
  SyncDirectory(staging_);
  if (!now.exists) {
    RenameToNew(staging_, now.directory);
  } else if (!now.replaced.empty()) {
    return Exchange(now);
  } else if (::rename(staging_.c_str(), now.directory.c_str()) != 0) {  // onto an empty directory
    throw OutputError("cannot write '" + now.directory.string() + "': " + ErrnoText());
  }
  SyncDirectory(now.directory.parent_path());
}

/// There is a whole result under the name at every moment.
void StagedDirectory::Exchange(const Destination& now) {
  const auto exchange = [&] {
    return ::renameat2(AT_FDCWD, staging_.c_str(), AT_FDCWD, now.directory.c_str(),
                       RENAME_EXCHANGE) == 0;
  };
  if (exchange()) {
    SyncDirectory(now.directory.parent_path());
    return RemoveFiles(staging_, now.replaced);
  }
  if (errno == EINVAL || errno == ENOSYS) return StepAside(now);
  // Directories of an image's lower layer cannot be renamed, their files can.
  PlaceFiles(staging_, now.directory, now.replaced);
}

/// For file systems that exchange nothing: the old directory steps aside, so that a failure, or the
/// next run, can put it back.
void StagedDirectory::StepAside(const Destination& now) {
  const fs::path aside = AsideOf(staging_);
  RenameToNew(now.directory, aside);
  try {
    RenameToNew(staging_, now.directory);
  } catch (const OutputError&) {
    RenameToNew(aside, now.directory);
    throw;
  }
  RemoveFiles(aside, now.replaced);
}

/// So that the next run does not take the result for a leftover. Returns where it is.
fs::path StagedDirectory::GiveOtherName() {
  keep_ = true;
  std::error_code error;
  fs::path base = place_.directory;
  if (place_.in_place) base /= place_.directory.filename();
  for (int i = 1; i < 100; ++i) {
    const fs::path name = base.string() + ".new" + (i == 1 ? "" : std::to_string(i));
    if (IsTaken(name)) continue;
    try {
      RenameToNew(staging_, name);
    } catch (const OutputError&) {
      break;
    }
    fs::remove(name / kLockName, error);
    staging_ = name;
    break;
  }
  return staging_;
}

}  // namespace ptq
