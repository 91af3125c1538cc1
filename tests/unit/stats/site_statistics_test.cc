// Sums, differences and means of a few tokens, and of parts that are merged.
#include "ptq/stats/site_statistics.h"

#include <algorithm>
#include <limits>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;

/// Adds one part.
void Add(SiteStatistics& statistics, const std::vector<float>& x) {
  const std::span<const float> part = x;
  statistics.Add({&part, 1});
}

TEST(SiteStatistics, SumsWhatItSees) {
  SiteStatistics statistics(2);
  const std::vector<float> two = {1, -2, -3, 4}, one = {2, 0};
  const std::vector<std::span<const float>> parts = {two, {}, one};
  statistics.Add(parts);
  EXPECT_EQ(statistics.count(), 3);
  EXPECT_THAT(statistics.MeanAbs(), ElementsAre(2, 2));
  EXPECT_THAT(statistics.max_abs(), ElementsAre(3, 4));
  // Σ x xᵀ = [[1 + 9 + 4, ·], [−2 − 12 + 0, 4 + 16]]
  EXPECT_EQ(statistics.gram()[0], 14);
  EXPECT_EQ(statistics.gram()[2], -14);
  EXPECT_EQ(statistics.gram()[3], 20);
}

TEST(SiteStatistics, KeepsTheRangeOfEachChannelAroundZero) {
  SiteStatistics statistics(3), other(3);
  Add(statistics, {1, -2, 5, 3, -4, 6});
  EXPECT_THAT(statistics.lowest(), ElementsAre(0, -4, 0));
  EXPECT_THAT(statistics.highest(), ElementsAre(3, 0, 6));
  Add(other, {-1, 7, 0});
  statistics.Merge(other);
  EXPECT_THAT(statistics.lowest(), ElementsAre(-1, -4, 0));
  EXPECT_THAT(statistics.highest(), ElementsAre(3, 7, 6));
}

TEST(SiteStatistics, CountsPaddingForTheRangeAlone) {
  SiteStatistics statistics(2), plain(2);
  Add(statistics, {1, -2});
  Add(plain, {1, -2});
  const std::vector<float> padded = {9, 1, -3, -5};
  const std::span<const float> part = padded;
  statistics.Widen({&part, 1});
  EXPECT_THAT(statistics.lowest(), ElementsAre(-3, -5));
  EXPECT_THAT(statistics.highest(), ElementsAre(9, 1));
  EXPECT_EQ(statistics.count(), plain.count());
  EXPECT_EQ(statistics.MeanAbs(), plain.MeanAbs());
  EXPECT_TRUE(std::ranges::equal(statistics.max_abs(), plain.max_abs()));
  EXPECT_TRUE(std::ranges::equal(statistics.gram(), plain.gram()));
}

TEST(SiteStatistics, IsZeroBeforeAnythingIsSeen) {
  const SiteStatistics statistics(3, {.gram = false});
  EXPECT_THAT(statistics.MeanAbs(), ElementsAre(0, 0, 0));
  EXPECT_TRUE(statistics.gram().empty());
  EXPECT_TRUE(statistics.IsFinite());
}

TEST(SiteStatistics, MergesToWhatOneWouldHaveSeen) {
  const std::vector<float> x = {1, 2, -3, 4, 5, -6};
  SiteStatistics whole(2), first(2), second(2);
  Add(whole, x);
  Add(first, {1, 2});
  Add(second, {-3, 4, 5, -6});
  first.Merge(second);
  EXPECT_EQ(first.count(), whole.count());
  EXPECT_EQ(first.MeanAbs(), whole.MeanAbs());
  EXPECT_TRUE(std::ranges::equal(first.max_abs(), whole.max_abs()));
  EXPECT_TRUE(std::ranges::equal(first.gram(), whole.gram()));
}

TEST(SiteStatistics, TellsHowFarTheOriginalIsFromWhatItSees) {
  SiteStatistics statistics(2, {.gram = true, .cross = true});
  const std::vector<float> seen = {1, 2, 3, -1}, original = {1.5f, 2, 2, -1};
  const std::vector<std::span<const float>> parts = {seen}, originals = {original};
  statistics.AddWithOriginal(parts, originals);
  // Differences (0.5, 0) and (-1, 0); their products with (1, 2) and (3, -1).
  EXPECT_THAT(statistics.cross(), ElementsAre(0.5f - 3.0f, 1.0f + 1.0f, 0, 0));
  EXPECT_THAT(statistics.shift_sum(), ElementsAre(-0.5, 0));
  EXPECT_EQ(statistics.gram()[0], 10) << "of what it sees";
  SiteStatistics twice = statistics;
  twice.Merge(statistics);
  EXPECT_THAT(twice.cross(), ElementsAre(-5, 4, 0, 0));
  EXPECT_THAT(twice.shift_sum(), ElementsAre(-1, 0));
}

TEST(SiteStatistics, DoesNotCompareTokensThatAreNotTheSame) {
  SiteStatistics statistics(2, {.gram = true, .cross = true});
  // One part with another number of tokens, one with others altogether.
  const std::vector<float> three = {1, 2, 3, 4, 5, 6}, two = {1, 2, 3, 4}, other = {-2, 1, -4, 3};
  const std::vector<std::span<const float>> parts = {three, two}, originals = {two, other};
  statistics.AddWithOriginal(parts, originals);
  EXPECT_EQ(statistics.count(), 5);
  EXPECT_THAT(statistics.cross(), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(statistics.shift_sum(), ElementsAre(0, 0));
}

TEST(SiteStatistics, CentersOnTheMeans) {
  SiteStatistics statistics(2, {.gram = true, .cross = true});
  const std::vector<float> seen = {1, 2, 3, 6}, original = {2, 2, 6, 5};
  const std::vector<std::span<const float>> parts = {seen}, originals = {original};
  statistics.AddWithOriginal(parts, originals);
  statistics.Center();
  statistics.Center();  // once is enough
  // Deviations of what is seen: (-1, -2), (1, 2); of the differences (1, 0), (3, -1): (-1, .5), (1,
  // -.5).
  EXPECT_THAT(statistics.sum(), ElementsAre(4, 8));
  EXPECT_THAT(statistics.gram(), ElementsAre(2, 0, 4, 8));
  EXPECT_THAT(statistics.cross(), ElementsAre(2, 4, -1, -2));
}

TEST(SiteStatistics, RefusesOtherSizes) {
  SiteStatistics statistics(2);
  EXPECT_THROW(Add(statistics, {1, 2, 3}), InternalError);
  EXPECT_THROW(statistics.Merge(SiteStatistics(3)), InternalError);
  EXPECT_THROW(statistics.Merge(SiteStatistics(2, {.gram = false})), InternalError);
}

TEST(SiteStatistics, NoticesWhatIsNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 3e38f}) {
    SiteStatistics statistics(2);
    Add(statistics, {1, bad});  // 3e38 squared overflows
    EXPECT_FALSE(statistics.IsFinite()) << bad;
  }
}

TEST(SiteStatistics, IsTheSameForAnyNumberOfThreads) {
  const int64_t k = 600, rows = 40;
  std::vector<float> x;
  for (int64_t i = 0; i < k * rows; ++i) x.push_back(static_cast<float>(i * 7919 % 1009) / 997);
  std::vector<SiteStatistics> results;
  for (const int threads : {1, 2}) {
    const ThreadLimit limit(threads);
    Add(results.emplace_back(k), x);
  }
  EXPECT_EQ(results[0].MeanAbs(), results[1].MeanAbs());
  EXPECT_TRUE(std::ranges::equal(results[0].gram(), results[1].gram()));
}

}  // namespace
}  // namespace ptq
