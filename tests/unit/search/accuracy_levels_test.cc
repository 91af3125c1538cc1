// Levels are chosen by what rounding costs for the time, within a tenth of the time of all.
#include "ptq/search/accuracy_levels.h"

#include <gtest/gtest.h>

#include "ptq/emit/linear_form.h"

namespace ptq {
namespace {

struct Products {
  int64_t k = 64;
  Plan plan;
  std::vector<Outcome> outcomes;

  /// `rounding`: parts of the output energy.
  void Add(const std::string& name, int64_t n, double rounding, int level = kChosenLevel,
           int bits = 4, int64_t group = 32) {
    Linear linear;
    linear.name = name;
    linear.n = n;
    linear.k = k;
    linear.decision.form = &FindLinearForm("matmulnbits");
    linear.decision.parameters.spec.bits = bits;
    linear.decision.parameters.spec.group_size = group;
    linear.decision.parameters.accuracy_level = level;
    plan.linears.push_back(linear);
    Outcome outcome;
    outcome.energy = 8;
    outcome.activation_loss = 8 * rounding;
    outcome.loss_after = 8 * (0.01 + (level == kChosenLevel ? rounding : 0));
    outcomes.push_back(outcome);
  }
  [[nodiscard]] std::vector<int64_t> Chosen(RunKind kind) {
    ChooseAccuracyLevels(plan, kind, outcomes);
    std::vector<int64_t> levels;
    for (const Outcome& outcome : outcomes) levels.push_back(outcome.accuracy_level);
    return levels;
  }
};

using Levels = std::vector<int64_t>;

TEST(ChooseAccuracyLevels, GivesLevelZeroToThoseThatLoseMostWithinATenthOfTheTime) {
  Products products;
  for (int i = 0; i < 20; ++i) products.Add("p", 100'000, 0.002);
  products.Add("large", 200'000, 0.02);  // 2 of 22 parts of the time, times 1.5 more: too much
  products.Add("small", 20'000, 0.01);
  Levels expected(22, 4);
  expected[21] = 0;
  expected[0] = 0;  // and one of the others fits: (.2 + 1) of 22.2, times 1.5
  EXPECT_EQ(products.Chosen(RunKind::kSteps), expected);
}

TEST(ChooseAccuracyLevels, GivesMoreOfThemLevelZeroWhereManyTokensRunAtATime) {
  Products products;
  products.k = 512;
  for (int i = 0; i < 10; ++i) products.Add("p", 100'000, 0.002, kChosenLevel, 4, 64);
  EXPECT_EQ(products.Chosen(RunKind::kWhole), (Levels{0, 0, 0, 4, 4, 4, 4, 4, 4, 4}));
  EXPECT_EQ(products.Chosen(RunKind::kSteps), Levels(10, 4)) << "one takes 15 % more";
}

TEST(ChooseAccuracyLevels, TakesWhatIsForNothing) {
  Products products;
  for (int i = 0; i < 9; ++i) products.Add("narrow", 256, 0.002);
  EXPECT_EQ(products.Chosen(RunKind::kWhole), Levels(9, 0));
  Products bytes;
  bytes.k = 512;
  for (int i = 0; i < 9; ++i) bytes.Add("wide", 512, 0.002, kChosenLevel, 8);
  EXPECT_EQ(bytes.Chosen(RunKind::kWhole), Levels(9, 4)) << "level 0 takes twice as long";
}

TEST(ChooseAccuracyLevels, ReckonsWithWhatSmallProductsTakeInAnyCase) {
  Products products;
  for (int i = 0; i < 10; ++i) products.Add("tiny", 32, 0.002);
  EXPECT_EQ(products.Chosen(RunKind::kSteps), Levels(10, 0));
}

TEST(ChooseAccuracyLevels, LeavesAloneWhatIsSetAndWhatHardlyLoses) {
  Products products;
  products.Add("set", 1, 0.5, 4);
  products.Add("off", 1, 0.5, 0);
  products.Add("little", 1, 0.000009);
  products.Add("unknown", 1, 0.5);
  products.outcomes.back().activation_loss.reset();
  for (int i = 0; i < 50; ++i) products.Add("p", 100, 0.000009);
  Levels expected(54, 4);
  expected[1] = 0;
  EXPECT_EQ(products.Chosen(RunKind::kWhole), expected);
}

TEST(ChooseAccuracyLevels, LeavesOtherFormsWithout) {
  Products products;
  products.Add("p", 10, 0.1);
  products.plan.linears[0].decision.form = &FindLinearForm("qdq");
  EXPECT_EQ(products.Chosen(RunKind::kWhole), Levels{-1});
}

TEST(AccuracyLevelNote, SaysWhatWasChosen) {
  Products products;
  products.k = 512;
  for (int i = 0; i < 10; ++i) products.Add("p", 1000, 0.002, kChosenLevel, 4, 64);
  EXPECT_EQ(products.Chosen(RunKind::kSteps), Levels(10, 4));
  EXPECT_EQ(AccuracyLevelNote(products.plan, products.outcomes),
            "accuracy level 4 for all 10 products: 0 would gain little for its time");
  (void)products.Chosen(RunKind::kWhole);
  EXPECT_EQ(AccuracyLevelNote(products.plan, products.outcomes),
            "accuracy level 0 for 3 of 10 products, where rounding activations costs most");
}

TEST(AccuracyLevelNote, WarnsWhereRoundingActivationsCostsMoreThanRoundingWeights) {
  Products products;
  products.Add("fine", 10, 0.005, 4);
  products.Add("a", 10, 0.05, 4);
  products.Add("b", 10, 0.2, 4);
  (void)products.Chosen(RunKind::kWhole);
  const std::string note = AccuracyLevelNote(products.plan, products.outcomes);
  EXPECT_NE(note.find("in 2 linears ('b' 20 % of its output energy, weights 1 %)"),
            std::string::npos)
      << note;
  products.outcomes[1].activation_loss = products.outcomes[2].activation_loss = 0.01;
  EXPECT_EQ(AccuracyLevelNote(products.plan, products.outcomes), "");
}

}  // namespace
}  // namespace ptq
