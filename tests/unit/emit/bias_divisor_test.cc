// Rows that feed channels of a scaled site are divided by their scale, others by nothing.
#include "bias_divisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

/// A linear of 4 rows behind which channels are scaled.
Plan RowsPlan() {
  Plan plan;
  plan.linears.emplace_back();
  plan.linears.front().n = 4;
  return plan;
}

Site ScaledRows(std::vector<int64_t> row_of_channel) {
  Site site;
  site.fold.kind = Fold::Kind::kLinearRows;
  site.fold.linear = 0;
  site.fold.row_of_channel = std::move(row_of_channel);
  return site;
}

TEST(BiasDivisor, IsTheScaleOfTheChannelThatARowFeeds) {
  const std::vector<float> scale = {2, 3, 3};
  EXPECT_THAT(BiasDivisor(RowsPlan(), ScaledRows({3, 1, 1}), scale),
              ::testing::ElementsAre(1, 3, 1, 2));
  EXPECT_THAT(BiasDivisor(RowsPlan(), ScaledRows({}), scale), ::testing::ElementsAre(2, 3, 3, 1));
}

TEST(BiasDivisor, RefusesARowOfTwoScales) {
  const std::vector<float> scale = {2, 3};
  EXPECT_THROW((void)BiasDivisor(RowsPlan(), ScaledRows({1, 1}), scale), InternalError);
}

}  // namespace
}  // namespace ptq
