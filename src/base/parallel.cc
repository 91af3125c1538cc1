#include "ptq/base/parallel.h"

#include <cblas.h>
#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/parallel_for.h>

#include <algorithm>

namespace ptq {

struct ThreadLimit::Control {
  tbb::global_control limit;
};

ThreadLimit::ThreadLimit(int threads)
    : threads_(threads > 0 ? threads : tbb::info::default_concurrency()) {
  openblas_set_num_threads(1);
  control_ = std::make_unique<Control>(
      Control{tbb::global_control(tbb::global_control::max_allowed_parallelism,
                                  static_cast<size_t>(threads_))});
}

ThreadLimit::~ThreadLimit() = default;

void ParallelForTiles(int64_t count, int64_t grain,
                      const std::function<void(int64_t, int64_t)>& body) {
  if (count <= 0) return;
  const int64_t tiles = (count + grain - 1) / grain;
  if (tiles == 1) {
    body(0, count);
    return;
  }
  tbb::parallel_for(int64_t{0}, tiles, [&](int64_t tile) {
    body(tile * grain, std::min(count, (tile + 1) * grain));
  });
}

void ParallelFor(int64_t count, const std::function<void(int64_t)>& body) {
  tbb::parallel_for(int64_t{0}, std::max(int64_t{0}, count), body);
}

}  // namespace ptq
