// Finds and removes what killed and interrupted runs leave beside their destinations.
#include "ptq/pipeline/leftovers.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <system_error>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/staged_directory.h"
#include "ptq/emit/metadata.h"
#include "ptq/pipeline/single_file.h"
#include "ptq/stats/statistics_file.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

constexpr char kInUse[] = "a process is at work in it";

/// Adds the sizes of all files, and keeps the time of the last that was written.
void Measure(const fs::path& path, int64_t& bytes, fs::file_time_type& last) {
  std::error_code error;
  const auto add = [&](const fs::path& file) {
    if (!fs::is_symlink(file, error) && fs::is_regular_file(file, error)) {
      bytes += int64_t(fs::file_size(file, error));
    }
    const auto written = fs::last_write_time(file, error);
    if (!error) last = std::max(last, written);
  };
  if (!fs::is_directory(path, error)) return add(path);
  for (fs::recursive_directory_iterator it(path, error), end; !error && it != end;
       it.increment(error)) {
    add(it->path());
  }
}

bool Contains(const fs::path& directory, std::string_view name) {
  std::error_code error;
  for (fs::recursive_directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().filename() == name) return true;
  }
  return false;
}

std::string WhatIsIn(const fs::path& staged) {
  if (Contains(staged, "step-0.cbor")) return "checkpoint";
  if (Contains(staged, kMetadataFileName)) return "finished models";
  return "unfinished result";
}

/// ".<name>.part.old": the result at <name> stepped aside for a new one.
bool IsPrevious(const fs::path& path) {
  const std::string name = path.filename().string();
  std::error_code error;
  return name.starts_with('.') && name.ends_with(".part.old") && !fs::is_symlink(path, error) &&
         fs::is_regular_file(path / kMetadataFileName, error);
}

/// ".<name>.onnx.result": a finished model that could not get its name.
bool IsUnplaced(const fs::path& path) {
  const std::string name = path.filename().string();
  std::error_code error;
  if (!name.starts_with('.') || !name.ends_with(std::string(".onnx") + kSingleResultSuffix) ||
      !fs::is_directory(fs::symlink_status(path, error))) {
    return false;
  }
  const std::string model = name.substr(1, name.size() - 1 - std::strlen(kSingleResultSuffix));
  return fs::is_regular_file(path / kMetadataFileName, error) ||
         fs::is_regular_file(MetadataOfSingleFile(path / model), error);
}

/// "<name>.part", when its beginning is that of a statistics file. Others use that ending, too.
bool IsStatistics(const fs::path& path) {
  std::error_code error;
  if (path.extension() != ".part" || fs::is_symlink(path, error) ||
      !fs::is_regular_file(path, error)) {
    return false;
  }
  return ReadFront(path, 256).find(kStatisticsFormat) != std::string::npos;
}

/// Whether a process that writes the file holds its lock (FileWriter).
bool IsBeingWritten(const fs::path& file) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return true;
  const bool free = ::flock(fd, LOCK_EX | LOCK_NB) == 0;
  ::close(fd);
  return !free;
}

void Add(const fs::path& path, std::vector<Leftover>& found) {
  Leftover leftover;
  leftover.path = path;
  if (StagedDirectory::IsOne(path)) {
    leftover.what = WhatIsIn(path);
    if (StagedDirectory::IsInUse(path)) leftover.kept = kInUse;
  } else if (IsPrevious(path)) {
    leftover.what = "previous result";
    const std::string name = path.filename().string();
    const std::string destination =
        name.substr(1, name.size() - 1 - std::string(".part.old").size());
    std::error_code error;
    if (!fs::exists(path.parent_path() / destination, error)) {
      leftover.kept = "it is all that is left of '" + destination + "': rename it to that";
    }
  } else if (IsUnplaced(path)) {
    leftover.what = "finished model";
  } else if (IsStatistics(path)) {
    leftover.what = "unfinished statistics";
    if (IsBeingWritten(path)) leftover.kept = kInUse;
  } else {
    return;
  }
  fs::file_time_type last = fs::file_time_type::min();
  Measure(path, leftover.bytes, last);
  if (last != fs::file_time_type::min()) {
    const std::chrono::duration<double> age = fs::file_time_type::clock::now() - last;
    leftover.age_seconds = std::max(0.0, age.count());
  }
  found.push_back(std::move(leftover));
}

}  // namespace

std::vector<Leftover> FindLeftovers(const fs::path& directory) {
  std::error_code error;
  std::vector<Leftover> found;
  // A destination may not be there yet.
  const fs::path own = StagedDirectory::PathFor(directory);
  for (const fs::path& path : {own, fs::path(own.string() + ".old")}) Add(path, found);
  if (!fs::is_directory(directory, error)) {
    if (!found.empty()) return found;
    throw InputError("'" + directory.string() + "' is not a directory");
  }
  std::vector<fs::path> entries;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    entries.push_back(it->path());
  }
  if (error) throw InputError("cannot read '" + directory.string() + "': " + error.message());
  std::ranges::sort(entries);
  const std::string beside = found.empty() ? "" : found.front().path.filename().string();
  for (const fs::path& path : entries) {
    if (path.filename() == beside && fs::equivalent(path, found.front().path, error)) continue;
    Add(path, found);
  }
  return found;
}

bool RemoveLeftover(Leftover& leftover) {
  if (!leftover.kept.empty()) return false;
  if (StagedDirectory::IsOne(leftover.path)) {
    if (StagedDirectory::RemoveUnused(leftover.path)) return true;
    leftover.kept = StagedDirectory::IsInUse(leftover.path) ? kInUse : "it cannot be removed";
    return false;
  }
  std::error_code error;
  fs::remove_all(leftover.path, error);
  if (error) leftover.kept = "it cannot be removed: " + error.message();
  return !error;
}

}  // namespace ptq
