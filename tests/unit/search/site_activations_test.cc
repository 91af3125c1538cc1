// What problems are told of activations, by the forms of the linears that read them.
#include "site_activations.h"

#include <gtest/gtest.h>

#include "ptq/emit/linear_form.h"

namespace ptq {
namespace {

constexpr int64_t kChannels = 2;

SiteStatistics Seen() {
  SiteStatistics statistics(kChannels);
  const std::vector<float> x = {1, -2, 3, 4};
  const std::span<const float> part = x;
  const uint64_t seed = 5;
  statistics.Add({&part, 1}, {&seed, 1});
  return statistics;
}

struct Posed {
  SiteStatistics statistics = Seen();
  std::vector<float> range;
  SiteProblem problem;

  explicit Posed(const std::vector<std::string>& forms, int bits = 8) {
    Plan plan;
    std::vector<int> linears;
    for (const std::string& form : forms) {
      Linear linear;
      linear.k = kChannels;
      linear.decision.form = &FindLinearForm(form);
      linear.decision.parameters.activations =
          form == "qdq" ? Activations::kStatic : Activations::kFloat;
      linear.decision.parameters.activation_bits = bits;
      linear.decision.parameters.accuracy_level = 0;
      linears.push_back(int(plan.linears.size()));
      plan.linears.push_back(linear);
    }
    AddActivations(plan, linears, statistics, range, problem);
  }
};

TEST(AddActivations, HasLevelsFoundForFormsThatRoundToGivenOnes) {
  const Posed posed({"qdq"}, 16);
  EXPECT_TRUE(posed.problem.activations.finds_levels);
  EXPECT_EQ(posed.problem.activations.levels, 1 << 16);
  EXPECT_EQ(posed.problem.activations.sample.size(), 4u);
  EXPECT_EQ(posed.problem.activations.lowest[1], -2);
  EXPECT_EQ(posed.problem.max_abs[0], 3);
}

TEST(AddActivations, FindsNoLevelsForFormsThatDoSoInEachRun) {
  const Posed posed({"matmulinteger"}, 16);
  EXPECT_FALSE(posed.problem.activations.finds_levels);
  EXPECT_EQ(posed.problem.activations.levels, 256);
  EXPECT_TRUE(posed.problem.activations.sample.empty());
}

TEST(AddActivations, RoundsForAllSiblingsWhereOneDoes) {
  const Posed posed({"matmulnbits", "qdq"});
  EXPECT_TRUE(posed.problem.activations.finds_levels);
  EXPECT_EQ(posed.problem.activations.levels, 256);
}

TEST(AddActivations, SaysNothingOfFloats) {
  const Posed posed({"matmulnbits"});
  EXPECT_EQ(posed.problem.activations.levels, 0);
  EXPECT_TRUE(posed.problem.activations.lowest.empty());
}

TEST(RoundedBlockOf, IsThatOfProductsOfCodesAlone) {
  Linear linear;
  linear.k = 64;
  linear.decision.form = &FindLinearForm("matmulnbits");
  linear.decision.parameters.spec = {4, 32, true};
  EXPECT_TRUE(IsProductOfCodes(linear));
  EXPECT_EQ(RoundedBlockOf(linear), 32);
  Linear gathered = linear, expert = linear, kept = linear;
  gathered.gather = 3;
  expert.place.form = 0;
  kept.decision = Decision();
  for (const Linear& other : {gathered, expert, kept}) {
    EXPECT_FALSE(IsProductOfCodes(other));
    EXPECT_EQ(RoundedBlockOf(other), 0);
  }
}

}  // namespace
}  // namespace ptq
