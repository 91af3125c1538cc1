// The processes that share one command: started together by mpirun, or just this one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "ptq/base/error.h"

namespace ptq {

/// Thrown by the exchanges of Ranks where another rank has failed. That one says why, so this one
/// says nothing, and ends with the same status.
class OtherRankFailed : public Error {
 public:
  explicit OtherRankFailed(ExitCode code) : Error(code, "another rank has failed") {}
};

/// Numbered processes, of which rank 0 (the root) talks to the user and writes the result.
/// Exchanges are called by all ranks in the same order, with arguments of the same sizes, from the
/// thread that made this object. Before each of them the ranks tell each other whether one has
/// failed: nobody waits for a rank that is gone, and destructors run on all of them. A build
/// without MPI has one rank, for which an exchange does nothing.
class Ranks {
 public:
  static constexpr int kEveryone = -1;

  /// Joins the ranks that were started together. Makes and ends MPI's use of the process, so at
  /// most one is made. Throws UsageError in one of several processes when this build cannot join
  /// them.
  Ranks();
  /// One rank, whatever has started the process.
  [[nodiscard]] static Ranks Alone();
  ~Ranks();
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return size_; }
  [[nodiscard]] bool is_root() const { return rank_ == 0; }
  /// This rank's part of the processors that the ranks on its machine may use; 0: all.
  [[nodiscard]] int threads() const { return threads_; }

  /// On `root`, element by element over all ranks; elsewhere the values are unspecified afterwards.
  void Sum(std::span<float> values, int root);
  void Sum(std::span<double> values, int root);
  void Sum(std::span<int64_t> values, int root);
  void Max(std::span<float> values, int root);
  void Max(std::span<int64_t> values, int root);

  /// Copies bytes of rank `from` to rank `to`, or to all for kEveryone.
  void Copy(std::span<std::byte> bytes, int from, int to);
  /// The same where only `from` knows the length.
  void Copy(std::string& bytes, int from, int to);

  /// Waits for all ranks; throws OtherRankFailed when one has failed.
  void Agree();
  /// Tells the others that this rank has failed, instead of its next exchange. One of those that
  /// fail reports it: returns whether that is this one, and gives all of them its status.
  [[nodiscard]] bool Fail(ExitCode& code);

  /// Name and version of the MPI library; empty in a build without.
  [[nodiscard]] static std::string Library();

 private:
  struct State;
  explicit Ranks(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;  ///< null: alone
  int rank_ = 0;
  int size_ = 1;
  int threads_ = 0;
};

}  // namespace ptq
