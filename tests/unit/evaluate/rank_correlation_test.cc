// Ranks of equal values, and Spearman's correlation of a published example.
#include "ptq/evaluate/rank_correlation.h"

#include <algorithm>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;
using Numbers = std::vector<double>;

TEST(OrdinalRanks, CountFromTheSmallest) {
  EXPECT_THAT(OrdinalRanks(Numbers{0.5, -2, 7, 1}), ElementsAre(1, 0, 3, 2));
  EXPECT_TRUE(OrdinalRanks({}).empty());
}

TEST(OrdinalRanks, GiveEqualValuesPlacesInTheirOrder) {
  EXPECT_THAT(OrdinalRanks(Numbers{3, 1, 3, 1, 3}), ElementsAre(2, 0, 3, 1, 4));
}

TEST(Spearman, IsOneForAnyIncreasingFunctionAndMinusOneForADecreasingOne) {
  const Numbers x = {-1, 0.1, 0.2, 5, 1000};
  EXPECT_DOUBLE_EQ(*Spearman(x, Numbers{1, 2, 3, 4, 4.001}), 1);
  EXPECT_DOUBLE_EQ(*Spearman(x, Numbers{9, 8, 7, 6, -6}), -1);
}

TEST(Spearman, GivesAPublishedExample) {
  // IQ and hours of television of ten people: Σ d² = 194, so −29/165.
  const Numbers iq = {106, 100, 86, 101, 99, 103, 97, 113, 112, 110};
  const Numbers hours = {7, 27, 2, 50, 28, 29, 20, 12, 6, 17};
  EXPECT_NEAR(*Spearman(iq, hours), -29.0 / 165, 1e-12);
}

TEST(Spearman, RanksTiesByTheirPlace) {
  // Ranks 0 1 2 3 and 0 1 3 2: Σ d² = 2. With mean ranks of ties it would be 0.7379.
  EXPECT_DOUBLE_EQ(*Spearman(Numbers{1, 2, 3, 4}, Numbers{5, 5, 7, 6}), 1 - 6 * 2.0 / 60);
  // Ties in the other side's order cost nothing.
  EXPECT_DOUBLE_EQ(*Spearman(Numbers{1, 2, 3, 4}, Numbers{5, 5, 6, 7}), 1);
}

TEST(Spearman, IsSymmetric) {
  const Numbers a = {3, 1, 4, 1, 5, 9, 2, 6};
  const Numbers b = {2, 7, 1, 8, 2, 8, 1, 8};
  EXPECT_DOUBLE_EQ(*Spearman(a, b), *Spearman(b, a));
}

TEST(Spearman, IsAbsentWhereRanksMeanNothing) {
  EXPECT_FALSE(Spearman({}, {}).has_value());
  EXPECT_FALSE(Spearman(Numbers{1}, Numbers{2}).has_value());
  EXPECT_FALSE(Spearman(Numbers{1, 2, 3}, Numbers{4, 4, 4}).has_value());
  EXPECT_FALSE(Spearman(Numbers{0, 0}, Numbers{1, 2}).has_value());
}

TEST(Spearman, RefusesSidesOfDifferentLength) {
  EXPECT_THROW((void)Spearman(Numbers{1, 2}, Numbers{1}), InternalError);
}

}  // namespace
}  // namespace ptq
