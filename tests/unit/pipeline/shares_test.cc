// How blocks and sites are divided among ranks.
#include "shares.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::Each;
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

class SiteOwnersTest : public ::testing::Test {
 protected:
  /// A site of one linear.
  void Add(size_t segment, int64_t n, int64_t k, bool shared = false) {
    Linear linear;
    linear.n = n;
    linear.k = k;
    linear.shared = shared;
    Site site;
    site.segment = segment;
    site.linears = {int(plan_.linears.size())};
    plan_.linears.push_back(linear);
    plan_.sites.push_back(site);
  }
  Plan plan_;
};

TEST_F(SiteOwnersTest, GivesTheDearestSiteFirstAndTheRestToWhoHasLeast) {
  Add(0, 1, 10);
  Add(0, 3, 10);
  Add(0, 1, 10);
  Add(1, 1, 10);
  EXPECT_THAT(SiteOwners(plan_, 2), ElementsAre(1, 0, 1, 0));
  EXPECT_THAT(SiteOwners(plan_, 1), Each(0));
}

TEST_F(SiteOwnersTest, KeepsSharedWeightsTogether) {
  Add(0, 1, 10, /*shared=*/true);
  Add(0, 1, 20);
  Add(1, 5, 10, /*shared=*/true);
  Add(1, 1, 10);
  EXPECT_THAT(SiteOwners(plan_, 3), ElementsAre(0, 1, 0, 1));
}

}  // namespace
}  // namespace ptq
