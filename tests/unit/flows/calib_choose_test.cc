// Clusters, shares and covers on points whose answers can be seen.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "calib/choose.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

/// Directions in the plane, by degrees.
TextPoints Directions(std::initializer_list<double> degrees) {
  TextPoints points{2, {}};
  for (const double degree : degrees) {
    points.values.push_back(float(std::cos(degree * M_PI / 180)));
    points.values.push_back(float(std::sin(degree * M_PI / 180)));
  }
  return points;
}

std::vector<size_t> Everything(const TextPoints& points) {
  std::vector<size_t> members(size_t(points.count()));
  std::iota(members.begin(), members.end(), size_t{0});
  return members;
}

/// Sum of 1 - cosine to the nearest chosen point, but 1 at most.
double Cost(const TextPoints& points, std::span<const size_t> chosen) {
  double sum = 0;
  for (int64_t i = 0; i < points.count(); ++i) {
    double nearest = 1;
    for (const size_t c : chosen) {
      const auto a = points.row(i), b = points.row(int64_t(c));
      nearest = std::min(nearest, 1.0 - double(a[0]) * b[0] - double(a[1]) * b[1]);
    }
    sum += nearest;
  }
  return sum;
}

TEST(ClusterPoints, FindsGroupsThatLieApart) {
  const TextPoints points = Directions({0, 2, 120, 4, 122, 240, 241, 1});
  for (const uint64_t seed : {1, 2, 3, 4}) {
    std::mt19937_64 generator(seed);
    EXPECT_THAT(ClusterPoints(points, 3, generator), ElementsAre(0, 0, 1, 0, 1, 2, 2, 0)) << seed;
  }
}

TEST(ClusterPoints, HasNoMoreClustersThanPoints) {
  std::mt19937_64 generator(1);
  EXPECT_THAT(ClusterPoints(Directions({0, 90}), 8, generator), ElementsAre(0, 1));
}

TEST(ShareOut, GoesBySizeOrByShares) {
  EXPECT_THAT(ShareOut(std::vector<int64_t>{100, 300, 600}, {}, 10), ElementsAre(1, 3, 6));
  EXPECT_THAT(ShareOut(std::vector<int64_t>{500, 500}, std::vector<double>{0.3, 0.7}, 10),
              ElementsAre(3, 7));
}

TEST(ShareOut, GivesEachSomethingAndTheRestToOthers) {
  EXPECT_THAT(ShareOut(std::vector<int64_t>{1, 1000, 2}, {}, 10), ElementsAre(1, 8, 1));
  EXPECT_THAT(ShareOut(std::vector<int64_t>{2, 100}, std::vector<double>{0.9, 0.1}, 10),
              ElementsAre(2, 8));
  EXPECT_THAT(ShareOut(std::vector<int64_t>{2, 3}, {}, 10), ElementsAre(2, 3));
}

TEST(ChooseCover, TakesWhatStandsForMostFirst) {
  const TextPoints points = Directions({0, 1, 2, 3, 4, 100, 101, 102, 200});
  EXPECT_THAT(ChooseCover(points, Everything(points), 3), ElementsAre(2, 6, 8));
  EXPECT_THAT(ChooseCover(points, std::vector<size_t>{5, 8}, 9), UnorderedElementsAre(5, 8));
}

TEST(ChooseCover, IsNearTheBestOfAllChoices) {
  const TextPoints points = Directions({3, 20, 41, 77, 90, 91, 133, 180, 200, 222, 300, 301});
  double best = 1e9;
  for (size_t a = 0; a < 12; ++a) {
    for (size_t b = a + 1; b < 12; ++b) {
      for (size_t c = b + 1; c < 12; ++c) {
        best = std::min(best, Cost(points, std::vector<size_t>{a, b, c}));
      }
    }
  }
  const double found = Cost(points, ChooseCover(points, Everything(points), 3));
  // The gain over nothing is at least 1 - 1/e of the best.
  EXPECT_GE(12 - found, (1 - std::exp(-1)) * (12 - best));
  EXPECT_LT(found, 1.5 * best);
}

TEST(CenterPoints, TakesAwayWhatAllHaveInCommon) {
  TextPoints points{2, {5, 1, 5, -1}};
  CenterPoints(points);
  EXPECT_THAT(points.values, ElementsAre(0, 1, 0, -1));
}

TEST(WordPoints, AreTheSameForTheSameWords) {
  const TextPoints points =
      WordPoints(std::vector<std::string>{"red blue", "Blue, RED!", "green house"});
  const auto dot = [&](int64_t a, int64_t b) {
    return std::inner_product(points.row(a).begin(), points.row(a).end(), points.row(b).begin(),
                              0.0);
  };
  EXPECT_NEAR(dot(0, 1), 1, 1e-6);
  EXPECT_LT(dot(0, 2), 0.5);
}

}  // namespace
}  // namespace ptq
