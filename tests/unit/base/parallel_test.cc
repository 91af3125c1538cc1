// The same tiles for any number of threads, and errors that come through.
#include "ptq/base/parallel.h"

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

std::set<std::pair<int64_t, int64_t>> TilesOf(int64_t count, int64_t grain, int threads) {
  const ThreadLimit limit(threads);
  std::mutex mutex;
  std::set<std::pair<int64_t, int64_t>> tiles;
  ParallelForTiles(count, grain, [&](int64_t begin, int64_t end) {
    const std::scoped_lock lock(mutex);
    EXPECT_TRUE(tiles.insert({begin, end}).second);
  });
  return tiles;
}

TEST(ParallelForTiles, CoversEveryIndexOnce) {
  std::vector<std::atomic<int>> seen(1003);
  ParallelForTiles(1003, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
  });
  for (const auto& count : seen) EXPECT_EQ(count, 1);
}

TEST(ParallelForTiles, CutsTheSameTilesForAnyNumberOfThreads) {
  const std::set<std::pair<int64_t, int64_t>> expected = {{0, 4}, {4, 8}, {8, 10}};
  EXPECT_EQ(TilesOf(10, 4, 1), expected);
  EXPECT_EQ(TilesOf(10, 4, 2), expected);
  EXPECT_TRUE(TilesOf(0, 4, 2).empty());
}

TEST(ThreadLimit, HoldsWhileItLives) {
  for (const int threads : {1, 2}) {
    const ThreadLimit limit(threads);
    EXPECT_EQ(limit.threads(), threads);
    EXPECT_EQ(ActiveThreads(), threads);
    std::mutex mutex;
    std::set<std::thread::id> seen;
    ParallelFor(200, [&](int64_t) {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
      const std::scoped_lock lock(mutex);
      seen.insert(std::this_thread::get_id());
    });
#ifndef __SANITIZE_THREAD__  // where loops have threads of their own
    EXPECT_LE(seen.size(), static_cast<size_t>(threads));
#endif
  }
}

TEST(ParallelForTiles, RethrowsWhatABodyThrows) {
  EXPECT_THROW(ParallelForTiles(100, 1,
                                [](int64_t begin, int64_t) {
                                  if (begin == 57) throw QualityError("found");
                                }),
               QualityError);
}

TEST(ParallelFor, MayBeNested) {
  const ThreadLimit limit(2);
  std::atomic<int> sum = 0;
  ParallelFor(8, [&](int64_t) { ParallelFor(8, [&](int64_t j) { sum += static_cast<int>(j); }); });
  EXPECT_EQ(sum, 8 * 28);
}

}  // namespace
}  // namespace ptq
