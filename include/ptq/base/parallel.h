// Loops over fixed tiles: the work is cut the same way for any number of threads, so results are
// too.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace ptq {

/// Limits the number of threads while it lives; 0 means all processors. Also keeps the matrix
/// library single-threaded, since the parallel loops are outside it.
class ThreadLimit {
 public:
  explicit ThreadLimit(int threads);
  ~ThreadLimit();
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;
  [[nodiscard]] int threads() const { return threads_; }

 private:
  struct Control;
  std::unique_ptr<Control> control_;
  int threads_;
};

/// Threads that loops run on now.
[[nodiscard]] int64_t ActiveThreads();

/// Calls `body(begin, end)` for each tile of `grain` indices of [0, count), in parallel, any order.
/// The tiles do not depend on the number of threads. The first exception is rethrown here.
void ParallelForTiles(int64_t count, int64_t grain,
                      const std::function<void(int64_t begin, int64_t end)>& body);

/// Calls `body(i)` for each i of [0, count), in parallel.
void ParallelFor(int64_t count, const std::function<void(int64_t)>& body);

}  // namespace ptq
