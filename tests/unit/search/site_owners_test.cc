// How blocks and sites are divided among ranks.
#include "ptq/search/site_owners.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

class SiteOwnersTest : public ::testing::Test {
 protected:
  /// A site of one linear.
  void Add(size_t segment, int64_t n, int64_t k, bool shared = false) {
    Linear linear;
    linear.n = n;
    linear.k = k;
    linear.reused = shared;
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
