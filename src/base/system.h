// What several files here ask of the operating system.
#pragma once

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>

namespace ptq {

/// Why the last call of the system failed.
[[nodiscard]] inline std::string ErrnoText() { return std::strerror(errno); }

/// Whether a name is taken, by a link that leads nowhere, too.
[[nodiscard]] inline bool IsTaken(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(std::filesystem::symlink_status(path, error));
}

}  // namespace ptq
