// Experts of one node are decided about together.
#include <string>

#include "support/planned.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::HasSubstr;
using testing::Planned;

testing::GraphBuilder Mixture() {
  testing::GraphBuilder b(17);
  b.Import("com.microsoft", 1).Input("x", {6, 32}).Random("router.weight", {32, 3});
  b.Random("moe.up", {3, 64, 32}).Random("moe.down", {3, 32, 64});
  b.Op("MatMul", {"x", "router.weight"}, "r");
  b.Op("MoE", {"x", "r", "moe.up", "", "moe.down"}, "y", "mixture").Domain("com.microsoft");
  return b.Int("k", 2).Output("y", {6, 32});
}

TEST(Experts, EachHasProductsAndSitesOfItsOwn) {
  const Planned planned(Mixture());
  int experts = 0;
  for (const Linear& linear : planned.plan.linears) {
    if (!linear.IsExpert()) {
      EXPECT_FALSE(linear.decision.quantizes()) << "the router";
      continue;
    }
    ++experts;
    EXPECT_TRUE(linear.decision.quantizes());
    EXPECT_EQ(linear.node_name, "mixture");
    const std::string stack = linear.place.part == ExpertPart::kDown ? "moe.down." : "moe.up.";
    EXPECT_EQ(linear.name, stack + std::to_string(linear.place.expert));
    EXPECT_EQ(linear.n, linear.place.part == ExpertPart::kDown ? 32 : 64);
  }
  EXPECT_EQ(experts, 6);
  EXPECT_EQ(planned.plan.sites.size(), 6);
  for (const Site& site : planned.plan.sites) {
    EXPECT_FALSE(site.scaling_allowed);
    EXPECT_EQ(site.segment, planned.plan.sites.front().segment);
  }
}

TEST(Experts, StayTogetherWhenOneGetsNoCodes) {
  PlanOptions options;
  options.exclude = {"moe.up.1"};
  // Nothing else is left to quantize, which is no error: the experts were accepted.
  const Planned planned(Mixture(), options);
  for (const Linear& linear : planned.plan.linears) {
    EXPECT_FALSE(linear.decision.quantizes()) << linear.name;
  }
  EXPECT_THAT(planned.Find("moe.down.2").decision.reason, HasSubstr("'moe.up.1' gets no codes"));
  EXPECT_THAT(planned.Find("moe.up.1").decision.reason, HasSubstr("excluded"));
}

TEST(Experts, StayTogetherWhenTheirCodesWouldDiffer) {
  PlanOptions options;
  Rule rule;
  rule.pattern = "moe.down*";
  rule.bits = 8;
  options.rules = {rule};
  const Planned planned(Mixture(), options);
  EXPECT_THAT(planned.Find("moe.down.0").decision.reason, HasSubstr("would differ"));
}

}  // namespace
}  // namespace ptq
