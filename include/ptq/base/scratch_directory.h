// A directory for files that nobody needs afterwards.
#pragma once

#include <filesystem>

namespace ptq {

/// A new directory with a name of its own, hidden, which goes with this object and all that is in
/// it; a killed process leaves it.
class ScratchDirectory {
 public:
  /// `parent`: where it is made; empty: the directory for temporary files. Throws OutputError.
  explicit ScratchDirectory(const std::filesystem::path& parent = {});
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace ptq
