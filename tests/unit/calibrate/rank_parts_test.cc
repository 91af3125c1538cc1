// Even parts of consecutive pieces.
#include "ptq/calibrate/rank_parts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::ElementsAre;

TEST(EvenParts, CutsConsecutivePiecesByCost) {
  EXPECT_THAT(EvenParts(std::vector<int64_t>{5, 5, 5, 5}, 2), ElementsAre(0, 2, 4));
  EXPECT_THAT(EvenParts(std::vector<int64_t>{9, 1, 1, 1}, 2), ElementsAre(0, 1, 4));
  EXPECT_THAT(EvenParts(std::vector<int64_t>{4, 4, 4, 4, 4}, 1), ElementsAre(0, 5));
}

TEST(EvenParts, LeavesRanksWithoutWorkWhereThereIsTooLittle) {
  EXPECT_THAT(EvenParts({}, 3), ElementsAre(0, 0, 0, 0));
  const auto bounds = EvenParts(std::vector<int64_t>{7, 7}, 4);
  EXPECT_EQ(bounds.front(), 0u);
  EXPECT_EQ(bounds.back(), 2u);
  for (size_t r = 0; r + 1 < bounds.size(); ++r) {
    EXPECT_LE(bounds[r], bounds[r + 1]);
    EXPECT_LE(bounds[r + 1] - bounds[r], 1u);
  }
}

}  // namespace
}  // namespace ptq
