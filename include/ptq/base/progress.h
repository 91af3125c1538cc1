// How far the work is: a bar on a terminal, plain lines or JSON anywhere else.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ptq {

enum class ProgressMode {
  kNone,
  kBar,     ///< one line that is drawn again and again, once the program has run for two seconds
  kSparse,  ///< a line every 30 seconds
  kPlain,   ///< a line at the beginning of each phase and every 30 seconds
  kJson,    ///< an object on a line at the beginning and the end of each phase and every second
};

/// Chooses how every Progress of this process is shown, on standard error. For the command line,
/// before there is one; until then nothing is shown.
void SetProgressMode(ProgressMode mode);

/// What is shown.
struct ProgressState {
  std::vector<std::string> phases;  ///< from the whole to the part: "encoder.onnx", "quantizing"
  std::string detail;               ///< what is at work in the last phase; may be empty
  int64_t done = 0;                 ///< of the last phase
  int64_t total = 0;                ///< 0: nobody knows
  double seconds = 0;               ///< since the last phase began
  int64_t skipped = 0;              ///< of `done`: took no time
};

/// "quantizing  5/12 [####------]  42 %  1 min 10 s left  layers.4", in plain ASCII of less than
/// `width` columns: on a narrow terminal, parts are left out.
[[nodiscard]] std::string ProgressBar(const ProgressState& state, int width);
/// "quantizing: 5 of 12 (42 %), 1 min 10 s left; layers.4"
[[nodiscard]] std::string ProgressLine(const ProgressState& state);
/// {"progress": {"phase": …, "detail": …, "done": …, "total": …, "seconds": …, "seconds_left": …}}
[[nodiscard]] std::string ProgressJson(const ProgressState& state);

/// A phase of the work, while it lives. One within another is a part of it, and only the innermost
/// counts. Made and destroyed by the thread that drives the work; any thread may advance it.
class Progress {
 public:
  /// `total`: steps of the phase, of about the same time each; 0 when nobody knows.
  explicit Progress(std::string phase, int64_t total = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Advance(int64_t steps = 1);
  /// The same for steps that were done before.
  void Skip(int64_t steps);
  /// Says what is at work in the innermost phase there is, if any.
  static void ShowDetail(std::string detail);
};

/// Keeps the bar away while something else is written to standard error.
class ProgressPause {
 public:
  ProgressPause();
  ~ProgressPause();
  ProgressPause(const ProgressPause&) = delete;
  ProgressPause& operator=(const ProgressPause&) = delete;
};

}  // namespace ptq
