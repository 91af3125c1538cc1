#include "ptq/base/progress.h"

#include <cstdio>

#include <unistd.h>

#include "ptq/base/memory.h"

namespace ptq {
namespace {

double SecondsBetween(std::chrono::steady_clock::time_point from,
                      std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

constexpr double kQuietSeconds = 2;
constexpr double kRedrawSeconds = 0.2;

}  // namespace

Progress::Progress(std::string label, int64_t total)
    : label_(std::move(label)),
      total_(total),
      enabled_(::isatty(STDERR_FILENO) != 0),
      start_(std::chrono::steady_clock::now()),
      last_(start_) {}

Progress::~Progress() {
  if (drawn_) std::fputs("\r\x1b[K", stderr);
}

void Progress::Advance(int64_t steps) {
  done_ += steps;
  if (!enabled_) return;
  const auto now = std::chrono::steady_clock::now();
  if (SecondsBetween(start_, now) < kQuietSeconds || SecondsBetween(last_, now) < kRedrawSeconds) {
    return;
  }
  last_ = now;
  Draw();
}

void Progress::Draw() {
  drawn_ = true;
  const double elapsed = SecondsBetween(start_, last_);
  const double left =
      done_ > 0 ? elapsed * static_cast<double>(total_ - done_) / static_cast<double>(done_) : 0;
  std::fprintf(stderr, "\r\x1b[K%s  %3d %%  %s left", label_.c_str(),
               static_cast<int>(100 * done_ / (total_ > 0 ? total_ : 1)),
               FormatSeconds(left).c_str());
  std::fflush(stderr);
}

}  // namespace ptq
