// Shows the innermost phase of the work on standard error, from a thread of its own: a step may
// take minutes.
#include "ptq/base/progress.h"

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>
#include <utility>

#include <sys/ioctl.h>
#include <unistd.h>

namespace ptq {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kRedraw{100};
constexpr std::chrono::seconds kQuiet{2};
constexpr std::chrono::seconds kBetweenLines{30};
constexpr std::chrono::seconds kBetweenObjects{1};
constexpr int kUsualWidth = 80;

int TerminalWidth() {
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : kUsualWidth;
}

/// Standard error, of which a process has one.
class Display {
 public:
  void SetMode(ProgressMode mode) {
    const std::scoped_lock lock(mutex_);
    mode_ = mode;
  }

  void Begin(std::string phase, int64_t total) {
    const std::scoped_lock lock(mutex_);
    if (mode_ == ProgressMode::kNone) return;
    phases_.push_back({std::move(phase), "", 0, total, Clock::now()});
    if (mode_ == ProgressMode::kPlain) Print(ProgressLine(State()));
    if (mode_ == ProgressMode::kJson) Print(ProgressJson(State()));
    if (!thread_.joinable()) thread_ = std::thread([this] { Work(); });
  }

  void End() {
    std::thread finished;
    {
      const std::scoped_lock lock(mutex_);
      if (phases_.empty()) return;  // nothing is shown
      if (mode_ == ProgressMode::kJson) Print(ProgressJson(State()));
      phases_.pop_back();
      if (phases_.empty()) {
        Erase();
        finished = std::move(thread_);
      }
    }
    changed_.notify_all();
    if (finished.joinable()) finished.join();
  }

  void Advance(int64_t steps) {
    const std::scoped_lock lock(mutex_);
    if (!phases_.empty()) phases_.back().done += steps;
  }

  void Skip(int64_t steps) {
    const std::scoped_lock lock(mutex_);
    if (phases_.empty()) return;
    phases_.back().done += steps;
    phases_.back().skipped += steps;
  }

  void ShowDetail(std::string detail) {
    const std::scoped_lock lock(mutex_);
    if (!phases_.empty()) phases_.back().detail = std::move(detail);
  }

  void Pause() {
    mutex_.lock();
    Erase();
  }
  void Continue() { mutex_.unlock(); }

 private:
  struct Phase {
    std::string name;
    std::string detail;
    int64_t done;
    int64_t total;
    Clock::time_point start;
    int64_t skipped = 0;
  };

  void Work() {
    std::unique_lock lock(mutex_);
    while (!phases_.empty()) {
      changed_.wait_for(lock, kRedraw);
      if (!phases_.empty()) Show();
    }
  }

  void Show() {
    const auto now = Clock::now();
    switch (mode_) {
      case ProgressMode::kNone: return;
      case ProgressMode::kBar:
        if (now - start_ < kQuiet) return;
        std::fprintf(stderr, "\r\x1b[K%s", ProgressBar(State(), TerminalWidth()).c_str());
        std::fflush(stderr);
        drawn_ = true;
        return;
      case ProgressMode::kSparse:
      case ProgressMode::kPlain:
        if (now - printed_ >= kBetweenLines) Print(ProgressLine(State()));
        return;
      case ProgressMode::kJson:
        if (now - printed_ >= kBetweenObjects) Print(ProgressJson(State()));
        return;
    }
  }

  void Print(const std::string& line) {
    std::fprintf(stderr, "%s\n", line.c_str());
    std::fflush(stderr);
    printed_ = Clock::now();
  }

  void Erase() {
    if (drawn_) std::fputs("\r\x1b[K", stderr);
    drawn_ = false;
  }

  [[nodiscard]] ProgressState State() const {
    ProgressState state;
    for (const Phase& phase : phases_) state.phases.push_back(phase.name);
    const Phase& last = phases_.back();
    state.detail = last.detail;
    state.done = last.done;
    state.total = last.total;
    state.skipped = last.skipped;
    state.seconds = std::chrono::duration<double>(Clock::now() - last.start).count();
    return state;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  ProgressMode mode_ = ProgressMode::kNone;
  std::vector<Phase> phases_;
  std::thread thread_;  ///< while there are phases
  bool drawn_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point printed_ = start_;
};

Display& TheDisplay() {
  static Display display;
  return display;
}

}  // namespace

void SetProgressMode(ProgressMode mode) { TheDisplay().SetMode(mode); }

Progress::Progress(std::string phase, int64_t total) {
  TheDisplay().Begin(std::move(phase), total);
}
Progress::~Progress() { TheDisplay().End(); }
void Progress::Advance(int64_t steps) { TheDisplay().Advance(steps); }
void Progress::Skip(int64_t steps) { TheDisplay().Skip(steps); }
void Progress::ShowDetail(std::string detail) { TheDisplay().ShowDetail(std::move(detail)); }

ProgressPause::ProgressPause() { TheDisplay().Pause(); }
ProgressPause::~ProgressPause() { TheDisplay().Continue(); }

}  // namespace ptq
