// Asks file systems how full they are.
#include "ptq/base/disk.h"

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

#include <sys/statvfs.h>

namespace ptq {

bool IsNoSpace(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

void ThrowWriteError(const std::filesystem::path& path, int error) {
  const std::string text = "cannot write '" + path.string() + "': " + std::strerror(error);
  if (IsNoSpace(error)) throw NoSpaceError(text);
  throw OutputError(text);
}

std::optional<int64_t> FreeBytes(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::path at = std::filesystem::absolute(directory, error);
  while (!std::filesystem::exists(at, error) && at.has_relative_path()) at = at.parent_path();
  struct statvfs info {};
  if (::statvfs(at.c_str(), &info) != 0 || info.f_blocks == 0) return std::nullopt;
  const double bytes = double(info.f_bavail) * double(info.f_frsize);
  constexpr double kMost = 9e18;  // below the largest int64_t
  return int64_t(bytes < kMost ? bytes : kMost);
}

int64_t BytesIn(const std::filesystem::path& directory) {
  namespace fs = std::filesystem;
  int64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    std::error_code gone;  // it may be removed meanwhile
    if (it->is_symlink(gone) || !it->is_regular_file(gone)) continue;
    const auto size = it->file_size(gone);
    if (!gone) bytes += int64_t(size);
  }
  return bytes;
}

}  // namespace ptq
