// The directory that a result is written to and that becomes it in one step.
#pragma once

#include <filesystem>

namespace ptq {

/// A directory ".<name>.part" next to `destination` that becomes it at Commit. It is removed with
/// this object unless Commit or Keep was called; a killed process leaves it, and it is taken over
/// by the next run: emptied, or as it is when that one resumes. Throws OutputError when the parent
/// cannot be written, another process works in the directory, or the destination exists and is not
/// empty (unless `overwrite`, which replaces it at Commit).
class StagedDirectory {
 public:
  StagedDirectory(std::filesystem::path destination, bool overwrite, bool resume = false);
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return staging_; }
  /// Leaves the directory for another run to resume.
  void Keep() { keep_ = true; }
  /// Whether Commit would replace something.
  [[nodiscard]] bool Replaces() const;
  /// `durable`: every file is on the disk before anything gets its final name.
  void Commit(bool durable = true);

 private:
  void Lock();
  std::filesystem::path destination_;
  std::filesystem::path staging_;
  bool overwrite_;
  bool keep_ = false;
  int lock_ = -1;
};

}  // namespace ptq
