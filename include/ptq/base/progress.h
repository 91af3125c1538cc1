// A progress line with an estimate on a terminal; silent anywhere else.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace ptq {

/// Draws "label  42 %  1 min 10 s left" on standard error, only when that is a terminal, and only
/// after two seconds. Not thread-safe: advance it from the thread that drives the loop.
class Progress {
 public:
  Progress(std::string label, int64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Advance(int64_t steps = 1);

 private:
  void Draw();
  std::string label_;
  int64_t total_;
  int64_t done_ = 0;
  bool enabled_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace ptq
