// Makes, locks, takes over and commits the directory that a result is written to.
#include "ptq/base/staged_directory.h"

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"

namespace ptq {
namespace {

/// Held by the process that works in a staged directory.
constexpr const char* kLockName = "lock";

std::string ErrnoText() { return std::strerror(errno); }

}  // namespace

StagedDirectory::StagedDirectory(std::filesystem::path destination, bool overwrite, bool resume)
    : destination_(std::move(destination)), overwrite_(overwrite) {
  destination_ = std::filesystem::absolute(destination_).lexically_normal();
  if (destination_.filename().empty()) destination_ = destination_.parent_path();
  std::error_code error;
  if (std::filesystem::exists(destination_, error) && !overwrite_ &&
      !(std::filesystem::is_directory(destination_, error) &&
        std::filesystem::is_empty(destination_, error))) {
    throw OutputError("destination '" + destination_.string() +
                      "' exists already; choose another --dst or give --overwrite");
  }
  const auto parent = destination_.parent_path();
  if (!std::filesystem::is_directory(parent, error)) {
    throw OutputError("the destination's parent '" + parent.string() + "' is not a directory");
  }
  const auto staging = parent / ("." + destination_.filename().string() + ".part");
  if (::mkdir(staging.c_str(), 0755) != 0 && errno != EEXIST) {
    throw OutputError("cannot create a directory in '" + parent.string() + "': " + ErrnoText());
  }
  staging_ = staging;
  Lock();
  if (resume) return;
  for (const auto& entry : std::filesystem::directory_iterator(staging_, error)) {
    if (entry.path().filename() != kLockName) std::filesystem::remove_all(entry.path(), error);
  }
}

/// The lock goes with the process, however that ends.
void StagedDirectory::Lock() {
  lock_ = ::open((staging_ / kLockName).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ >= 0 && ::flock(lock_, LOCK_EX | LOCK_NB) == 0) return;
  const bool busy = lock_ >= 0 && errno == EWOULDBLOCK;
  const std::string why = ErrnoText();
  if (lock_ >= 0) ::close(lock_);
  lock_ = -1;
  if (busy) {
    throw OutputError("another run is writing '" + destination_.string() +
                      "'; wait for it, or choose another --dst");
  }
  throw OutputError("cannot write in '" + staging_.string() + "': " + why);
}

StagedDirectory::~StagedDirectory() {
  std::error_code ignored;
  if (!staging_.empty() && lock_ >= 0 && !keep_) std::filesystem::remove_all(staging_, ignored);
  if (lock_ >= 0) ::close(lock_);
}

bool StagedDirectory::Replaces() const {
  std::error_code error;
  return std::filesystem::exists(destination_, error) &&
         !std::filesystem::is_empty(destination_, error);
}

void StagedDirectory::Commit(bool durable) {
  std::error_code error;
  std::filesystem::remove(staging_ / kLockName, error);
  if (durable) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(staging_)) {
      if (entry.is_regular_file()) SyncFile(entry.path());
      if (entry.is_directory()) SyncDirectory(entry.path());
    }
    SyncDirectory(staging_);
  }
  std::filesystem::path previous;
  if (std::filesystem::exists(destination_, error)) {
    // The old directory steps aside first, so that a failure can put it back.
    previous = staging_.string() + ".old";
    std::filesystem::rename(destination_, previous, error);
    if (error) throw OutputError("cannot replace '" + destination_.string() + "'");
  }
  std::filesystem::rename(staging_, destination_, error);
  if (error) {
    const std::string why = error.message();
    if (!previous.empty()) std::filesystem::rename(previous, destination_, error);
    throw OutputError("cannot move the result to '" + destination_.string() + "': " + why);
  }
  if (durable) SyncDirectory(destination_.parent_path());
  staging_.clear();
  if (!previous.empty()) std::filesystem::remove_all(previous, error);
}

}  // namespace ptq
