// Each way to pool, on three tokens.
#include "ptq/evaluate/pooling.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;

/// Three tokens of two channels.
const std::vector<float> kStates = {1, 10, 3, -2, 5, 4};

TEST(Pool, FollowsTheDefinitions) {
  EXPECT_THAT(Pool(Pooling::kCls, kStates, 2), ElementsAre(1, 10));
  EXPECT_THAT(Pool(Pooling::kLastToken, kStates, 2), ElementsAre(5, 4));
  EXPECT_THAT(Pool(Pooling::kMax, kStates, 2), ElementsAre(5, 10));
  EXPECT_THAT(Pool(Pooling::kMean, kStates, 2), ElementsAre(DoubleEq(3), DoubleEq(4)));
  EXPECT_THAT(Pool(Pooling::kMeanSqrtLength, kStates, 2),
              ElementsAre(DoubleEq(9 / std::sqrt(3.0)), DoubleEq(12 / std::sqrt(3.0))));
  EXPECT_THAT(Pool(Pooling::kWeightedMean, kStates, 2),
              ElementsAre(DoubleEq((1 + 6 + 15) / 6.0), DoubleEq((10 - 4 + 12) / 6.0)));
}

TEST(Pool, LeavesASingleTokenAsItIs) {
  for (const Pooling pooling :
       {Pooling::kCls, Pooling::kMax, Pooling::kMean, Pooling::kMeanSqrtLength,
        Pooling::kWeightedMean, Pooling::kLastToken}) {
    EXPECT_THAT(Pool(pooling, std::vector<float>{7, -3}, 2), ElementsAre(7, -3))
        << PoolingName(pooling);
  }
}

TEST(Pool, SumsInDouble) {
  const std::vector<float> large(8, 3e38f);
  EXPECT_NEAR(Pool(Pooling::kMean, large, 2)[0], 3e38, 1e32);
  EXPECT_GT(Pool(Pooling::kMeanSqrtLength, large, 2)[0], 5e38);
}

TEST(Pool, KeepsWhatIsNotANumber) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(Pool(Pooling::kMax, std::vector<float>{1, nan, 2}, 1)[0]));
  EXPECT_TRUE(std::isnan(Pool(Pooling::kMax, std::vector<float>{nan, 1}, 1)[0]));
  EXPECT_TRUE(std::isnan(Pool(Pooling::kMean, std::vector<float>{1, nan}, 1)[0]));
}

}  // namespace
}  // namespace ptq
