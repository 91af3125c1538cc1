// The directory that a result is written to and that becomes it in one step.
#pragma once

#include <filesystem>
#include <vector>

#include "ptq/base/destination.h"

namespace ptq {

/// A directory `.NAME.part` beside `destination` that becomes it at Commit, or whose files are
/// moved into it (Destination::in_place; then it lies within). Parents of the destination are made.
/// It is removed with this object, as are those parents, unless Commit or Keep was called; a killed
/// process leaves it, and it is taken over by the next run: emptied, or as it is when that one
/// resumes. Throws OutputError when it cannot be written, another process works in it, something
/// that no run made has its name, or Examine refuses the destination.
class StagedDirectory {
 public:
  explicit StagedDirectory(const std::filesystem::path& destination, Replacement replacement = {},
                           bool resume = false);
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;

  /// Where that of a destination lies: the one that a run has left, or that the next will make.
  [[nodiscard]] static std::filesystem::path PathFor(const std::filesystem::path& destination);
  /// Whether that is one: a directory of such a name, no link, with the lock of this program.
  [[nodiscard]] static bool IsOne(const std::filesystem::path& path);
  /// Whether a process works in it.
  [[nodiscard]] static bool IsInUse(const std::filesystem::path& path);
  /// Removes it, unless a process works in it (false then). Follows no links.
  [[nodiscard]] static bool RemoveUnused(const std::filesystem::path& path);

  /// Looks only: throws OutputError for what the constructor would refuse, as far as it can be
  /// seen. Says nothing where a Commit was killed, which the constructor completes first.
  static void Check(const std::filesystem::path& destination, const Replacement& replacement,
                    bool resume);
  /// Whether a Commit was killed on the way.
  [[nodiscard]] static bool IsUnfinished(const std::filesystem::path& destination,
                                         const Replacement& replacement);
  /// Completes or takes back a Commit that was killed. For what looks at a destination before
  /// staging in it; the constructor does so, too.
  static void Recover(const std::filesystem::path& destination, const Replacement& replacement);

  [[nodiscard]] const std::filesystem::path& path() const { return staging_; }
  /// Leaves the directory for another run to resume, unless it is committed.
  void Keep(bool keep = true) { keep_ = keep; }
  [[nodiscard]] bool keeps() const { return keep_; }
  /// Every file is on the disk before anything gets its final name. When the destination may no
  /// longer be given the result (something has appeared there), that is left as it is, and the
  /// result gets another name, `<name>.new`, which the OutputError tells.
  void Commit();

 private:
  void MakeParents();
  void MakeStaging();
  void Lock();
  void TakeOver(bool resume);
  void RemoveParents();
  void Sync() const;
  void Place();
  void Exchange(const Destination& now);
  void StepAside(const Destination& now);
  [[nodiscard]] std::filesystem::path GiveOtherName();

  Replacement replacement_;
  Destination place_;
  std::filesystem::path staging_;
  std::vector<std::filesystem::path> parents_;  ///< made here, outermost first
  bool keep_ = false;
  bool found_ = false;  ///< the staged directory was there already
  int lock_ = -1;
};

}  // namespace ptq
