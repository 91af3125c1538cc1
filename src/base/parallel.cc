// Hands tiles to oneTBB, or to plain threads under the thread sanitizer; stops at an interrupt.
#include "ptq/base/parallel.h"

#include <algorithm>

#include <cblas.h>
#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/parallel_for.h>

#ifdef __SANITIZE_THREAD__
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>
#endif

#include "ptq/base/interrupt.h"
#include "ptq/base/matrix_library.h"

namespace ptq {
namespace {

#ifdef __SANITIZE_THREAD__

/// The thread sanitizer cannot see how a oneTBB that is not built with it hands work over, and
/// would report every loop. Under it the same indices are taken by plain threads.
void ForEachIndex(int64_t count, const std::function<void(int64_t)>& body) {
  constexpr int kThreads = 4;
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  const auto work = [&] {
    try {
      for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) body(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      next = count;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads && i < count; ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  if (error) std::rethrow_exception(error);
}

#else

void ForEachIndex(int64_t count, const std::function<void(int64_t)>& body) {
  tbb::parallel_for(int64_t{0}, count, body);
}

#endif

}  // namespace

/// Made in its place: a copy of a global_control would be none, and its original's end the end of
/// the limit.
struct ThreadLimit::Control {
  explicit Control(int threads)
      : limit(tbb::global_control::max_allowed_parallelism, static_cast<size_t>(threads)) {}
  tbb::global_control limit;
};

ThreadLimit::ThreadLimit(int threads)
    : threads_(threads > 0 ? threads : tbb::info::default_concurrency()) {
  openblas_set_num_threads(1);
  ReserveMatrixLibrary(threads_);
  control_ = std::make_unique<Control>(threads_);
}

ThreadLimit::~ThreadLimit() = default;

int64_t ActiveThreads() {
  return int64_t(tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism));
}

void ParallelForTiles(int64_t count, int64_t grain,
                      const std::function<void(int64_t, int64_t)>& body) {
  if (count <= 0) return;
  const int64_t tiles = (count + grain - 1) / grain;
  if (tiles == 1) {
    CheckInterrupt();
    body(0, count);
    return;
  }
  ForEachIndex(tiles, [&](int64_t tile) {
    CheckInterrupt();
    body(tile * grain, std::min(count, (tile + 1) * grain));
  });
}

void ParallelFor(int64_t count, const std::function<void(int64_t)>& body) {
  ForEachIndex(std::max(int64_t{0}, count), [&](int64_t i) {
    CheckInterrupt();
    body(i);
  });
}

}  // namespace ptq
