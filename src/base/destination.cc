// Looks at what stands where a result is to go, and decides what of it may be replaced.
#include "ptq/base/destination.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ptq/base/confined_path.h"
#include "ptq/base/error.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

/// Entries that systems and people put into directories that they call empty.
constexpr std::array<std::string_view, 3> kHarmless = {"lost+found", ".DS_Store", ".gitkeep"};

std::string StagingName(const fs::path& directory) {
  return "." + directory.filename().string() + ".part";
}

[[noreturn]] void Refuse(const fs::path& path, const std::string& why) {
  throw OutputError("destination '" + path.string() + "' " + why);
}

bool IsMountPoint(const fs::path& directory) {
  struct statx info {};
  if (::statx(AT_FDCWD, directory.c_str(), AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &info) == 0 &&
      (info.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0) {
    return (info.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
  }
  struct stat own {};
  struct stat above {};
  return ::stat(directory.c_str(), &own) != 0 ||
         ::stat(directory.parent_path().c_str(), &above) != 0 || own.st_dev != above.st_dev;
}

bool CanRename(const fs::path& directory) {
  std::error_code error;
  return !IsMountPoint(directory) && !Contains(directory, fs::current_path(error)) &&
         ::faccessat(AT_FDCWD, directory.parent_path().c_str(), W_OK | X_OK, AT_EACCESS) == 0;
}

/// What is in a directory that no run wrote into must be nothing to speak of.
void CheckEmpty(const fs::path& given, Destination& destination) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(destination.directory, error)) {
    const std::string name = entry.path().filename().string();
    destination.in_place = true;  // what is there stays
    if (name == StagingName(destination.directory)) continue;
    if (std::ranges::find(kHarmless, name) == kHarmless.end()) {
      Refuse(given, "holds files that this program did not write, such as '" + name +
                        "'; --overwrite does not replace them, choose another --dst");
    }
  }
  if (error) Refuse(given, "cannot be read: " + error.message());
}

/// Tells the files of an earlier result from others. Returns those that are not what was written.
std::vector<std::string> Divide(const std::vector<WrittenFile>& written, Destination& destination) {
  std::map<fs::path, int64_t> sizes;
  std::set<fs::path> folders;
  for (const WrittenFile& file : written) {
    sizes[file.name] = file.bytes;
    for (fs::path at = file.name.parent_path(); !at.empty(); at = at.parent_path()) {
      folders.insert(at);
    }
  }
  std::vector<std::string> changed;
  std::set<fs::path> there;
  std::error_code error;
  auto entry = fs::recursive_directory_iterator(destination.directory, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    const fs::path name = entry->path().lexically_relative(destination.directory);
    std::error_code ignored;
    const fs::file_status status = entry->symlink_status(ignored);
    const auto found = sizes.find(name);
    if (fs::is_directory(status) && folders.contains(name)) continue;
    if (found == sizes.end()) {
      destination.in_place = true;
      if (fs::is_directory(status)) entry.disable_recursion_pending();
      continue;
    }
    if (!fs::is_regular_file(status) ||
        (found->second >= 0 && int64_t(entry->file_size(ignored)) != found->second)) {
      changed.push_back(name.string());
    }
    there.insert(name);
  }
  for (const WrittenFile& file : written) {
    if (there.contains(file.name)) destination.replaced.push_back(file.name);
  }
  if (error) changed.push_back(error.message());
  return changed;
}

}  // namespace

fs::path Destination::Staging() const {
  return (in_place ? directory : directory.parent_path()) / StagingName(directory);
}

Destination Examine(const fs::path& path, const Replacement& replacement) {
  std::error_code error;
  fs::path given = fs::absolute(path, error);
  while (given.filename().empty() && given.has_relative_path()) given = given.parent_path();
  Destination destination;
  destination.directory = fs::weakly_canonical(given, error);
  if (error) Refuse(path, "cannot be found: " + error.message());
  const bool link = fs::is_symlink(fs::symlink_status(given, error));
  const fs::file_status status = fs::status(destination.directory, error);
  if (!fs::exists(status)) {
    if (link) Refuse(path, "is a link that leads nowhere; make the directory, or remove the link");
    return destination;
  }
  if (!fs::is_directory(status)) {
    Refuse(path,
           "is not a directory; --overwrite does not replace other things, choose another --dst");
  }
  destination.exists = true;
  destination.in_place = link || !CanRename(destination.directory);
  const auto written = replacement.written ? replacement.written(destination.directory)
                                           : std::optional<std::vector<WrittenFile>>();
  if (!written.has_value()) {
    CheckEmpty(path, destination);
    return destination;
  }
  const std::vector<std::string> changed = Divide(*written, destination);
  if (!replacement.overwrite) {
    Refuse(path, "exists already; choose another --dst or give --overwrite");
  }
  if (!changed.empty()) {
    Refuse(path, "holds '" + changed.front() +
                     "', which is not what this program wrote; move it away, or choose another "
                     "--dst");
  }
  return destination;
}

void CheckOutputFile(const fs::path& file, const std::vector<fs::path>& inputs) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(file, error);
  if (!fs::exists(status)) return;
  if (!fs::is_regular_file(status)) {
    throw OutputError("'" + file.string() + "' is " +
                      (fs::is_symlink(status) ? "a link" : "not a file") +
                      "; give the name of a file to write");
  }
  for (const fs::path& input : inputs) {
    if (fs::equivalent(file, input, error) && !error) {
      throw OutputError("'" + file.string() +
                        "' is what is read; give another name to what is written");
    }
  }
}

}  // namespace ptq
