// What goes to a file to fit a budget, and what a prediction counts.
#include "ptq/calibrate/memory_plan.h"

#include <limits>

#include "support/model_builder.h"
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

constexpr int64_t kMiB = 1 << 20;

class MemoryPlanTest : public ::testing::Test {
 protected:
  explicit MemoryPlanTest()
      : model_(testing::ToyDecoder(2).Build()),
        graph_(model_),
        executor_(graph_),
        plan_(MakePlan(executor_.plan(), {})) {}

  [[nodiscard]] MemoryPlan PlanFor(int64_t tokens, int64_t longest, int64_t budget) const {
    return PlanMemory(executor_, plan_, {true, tokens, longest, {}}, budget);
  }

  Model model_;
  Graph graph_;
  Executor executor_;
  Plan plan_;
};

TEST_F(MemoryPlanTest, KeepsEverythingInMemoryWithoutABudget) {
  const MemoryPlan plan = PlanFor(int64_t{1} << 24, 512, 0);
  EXPECT_EQ(plan.cut_bytes, std::numeric_limits<int64_t>::max());
  EXPECT_GT(plan.micro_batch_tokens, kBlockTokens);
  EXPECT_EQ(PlanFor(int64_t{1} << 24, 512, plan.peak_bytes).cut_bytes, plan.cut_bytes)
      << "what fits is not touched";
}

TEST_F(MemoryPlanTest, MovesActivationsToAFileToFit) {
  const int64_t tokens = int64_t{1} << 24;
  const int64_t most = PlanFor(tokens, 512, 0).peak_bytes;
  const int64_t cut = tokens * (32 * 2 + 16);
  // Kept once instead of twice, and then not whole.
  EXPECT_FALSE(PlanFor(tokens, 512, most - 200 * kMiB).saves_behind);
  const MemoryPlan plan = PlanFor(tokens, 512, most - cut - 200 * kMiB);
  EXPECT_LE(plan.peak_bytes, most - cut - 200 * kMiB);
  EXPECT_LT(plan.cut_bytes, cut);
  EXPECT_GT(plan.cut_bytes, 0) << "what memory is left is used";
}

TEST_F(MemoryPlanTest, NeverPlansAboveItsBudget) {
  const int64_t most = PlanFor(1 << 20, 700, 0).peak_bytes;
  int64_t least = 0;
  for (int64_t budget = most; least == 0; budget -= kMiB) {
    try {
      const MemoryPlan plan = PlanFor(1 << 20, 700, budget);
      EXPECT_LE(plan.peak_bytes, budget);
      EXPECT_GE(plan.micro_batch_tokens, 700) << "a sample cannot be divided";
    } catch (const ResourceError&) {
      least = budget;
    }
  }
  EXPECT_GT(least, kMiB);
}

TEST_F(MemoryPlanTest, CountsGramMatricesThatComeFromAFile) {
  const int64_t none = PlanMemory(executor_, plan_, {false, 0, 0, {}}, 0).peak_bytes;
  EXPECT_GT(PlanMemory(executor_, plan_, {true, 0, 0, {}}, 0).peak_bytes, none);
}

TEST_F(MemoryPlanTest, CountsCodesOfExpertsThatWaitForOthers) {
  const auto peak = [&] { return PlanMemory(executor_, plan_, {true, 0, 0, {}}, 0).peak_bytes; };
  const int64_t alone = peak();
  int64_t bytes = 0;
  for (Linear& linear : plan_.linears) {
    if (!linear.decision.quantizes()) continue;
    linear.place = {0, -1, 0, ExpertPart::kDown};
    bytes += linear.n * linear.k + linear.n * linear.spec().GroupsFor(linear.k) * 5;
  }
  EXPECT_EQ(peak() - alone, bytes);
}

TEST_F(MemoryPlanTest, AddsToWhatTheProcessHolds) {
  CalibrationSize size{true, 1024, 512, {}};
  const int64_t before = PlanMemory(executor_, plan_, size, 0).peak_bytes;
  size.resident = 300 * kMiB;
  EXPECT_EQ(PlanMemory(executor_, plan_, size, 0).peak_bytes, before + 300 * kMiB);
  size.reached = 5000 * kMiB;  // by the tokenizer, say
  EXPECT_EQ(PlanMemory(executor_, plan_, size, 0).peak_bytes, size.reached);
  EXPECT_THROW((void)PlanMemory(executor_, plan_, size, size.reached - 1), ResourceError);
}

TEST(MemoryPlan, CountsVerification) {
  // Beside a large head that stays as it is, its outputs, and with weights that become whole.
  testing::GraphBuilder b;
  constexpr int64_t kWidth = 2048, kVocabulary = 4096;
  b.Input("x", {-1, -1, kWidth}).Output("logits", {-1, -1, kVocabulary});
  b.Random("w", {kWidth, kWidth}).Op("MatMul", {"x", "w"}, "h").Op("Relu", {"h"}, "r");
  b.Random("head", {kWidth, kVocabulary}).Op("MatMul", {"r", "head"}, "logits");
  const Model model = b.Build();
  const Graph graph(model);
  const Executor executor(graph);
  PlanOptions options;
  options.head = Precision::kKeep;
  const Plan plan = MakePlan(executor.plan(), options);
  CalibrationSize size{false, 0, 0, {}};
  const int64_t without = PlanMemory(executor, plan, size, 0).peak_bytes;
  size.verifies = true;
  const int64_t with = PlanMemory(executor, plan, size, 0).peak_bytes;
  EXPECT_GE(with, without);
  EXPECT_GE(with, kWidth * kVocabulary * 4) << "columns of the head lie all over it";
  size.widens = true;
  EXPECT_GE(PlanMemory(executor, plan, size, 0).peak_bytes, with);
  size.tokens = 256;
  size.longest = 64;
  EXPECT_GE(PlanMemory(executor, plan, size, 0).peak_bytes, 2 * 64 * kVocabulary * 4);
}

}  // namespace
}  // namespace ptq
