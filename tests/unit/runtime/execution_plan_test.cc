#include "ptq/runtime/execution_plan.h"

#include <map>

#include "support/model_builder.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using testing::GraphBuilder;

TEST(ExecutionPlan, MarksWhatDependsOnWeightsAlone) {
  GraphBuilder b;
  b.Input("x", {2, 4}).Random("w", {4, 4}).Op("Transpose", {"w"}, "wt");
  b.Op("MatMul", {"x", "wt"}, "y").Output("y", {2, 4});
  const Model model = b.Build();
  const Graph graph(model);
  const ExecutionPlan plan(graph);
  EXPECT_TRUE(plan.IsConstant(graph.Find("w")));
  EXPECT_TRUE(plan.IsConstant(graph.Find("wt")));
  EXPECT_FALSE(plan.IsConstant(graph.Find("x")));
  EXPECT_FALSE(plan.IsConstant(graph.Find("y")));
}

TEST(ExecutionPlan, NamesAnOperatorWithoutKernel) {
  GraphBuilder b;
  b.Input("x", {2}).Op("NobodyKnowsThis", {"x"}, "y", "the_node").Output("y", {2});
  const Model model = b.Build();
  const Graph graph(model);
  try {
    const ExecutionPlan plan(graph);
    FAIL() << "nothing was thrown";
  } catch (const UnsupportedError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("NobodyKnowsThis"));
  }
}

TEST(Segments, CoverAllStepsInOrder) {
  const Model model = testing::ToyDecoder(3).Build();
  const Graph graph(model);
  const ExecutionPlan plan(graph);
  int end = 0;
  for (const Segment& segment : plan.segments()) {
    EXPECT_EQ(segment.begin, end);
    EXPECT_GT(segment.end, segment.begin);
    end = segment.end;
  }
  EXPECT_EQ(end, static_cast<int>(plan.steps().size()));
  // Three blocks have at least two narrow places each: behind the attention and behind the MLP.
  EXPECT_GE(plan.segments().size(), 4u);
}

TEST(Segments, KeepLinearsOfOneActivationTogether) {
  const Model model = testing::ToyDecoder(3).Build();
  const Graph graph(model);
  const ExecutionPlan plan(graph);
  for (int block = 0; block < 3; ++block) {
    const std::string t = "b" + std::to_string(block) + "_";
    const size_t attention = plan.SegmentOf(graph.Find(t + "q"));
    EXPECT_EQ(plan.SegmentOf(graph.Find(t + "k")), attention);
    EXPECT_EQ(plan.SegmentOf(graph.Find(t + "v")), attention);
    EXPECT_EQ(plan.SegmentOf(graph.Find(t + "gate")), plan.SegmentOf(graph.Find(t + "up")));
  }
}

TEST(Segments, HandOverTheResidualStreamAlone) {
  const Model model = testing::ToyDecoder(3).Build();
  const Graph graph(model);
  const ExecutionPlan plan(graph);
  for (size_t i = 0; i + 1 < plan.segments().size(); ++i) {
    EXPECT_EQ(plan.segments()[i].live_out, plan.segments()[i + 1].live_in);
    EXPECT_LE(plan.segments()[i].live_out.size(), 2u);
    for (const ValueId id : plan.segments()[i].live_out) EXPECT_FALSE(plan.IsConstant(id));
  }
}

TEST(Segments, RunOnlyTheStepsThatAGoalNeeds) {
  const Model model = testing::ToyDecoder(1).Build();
  const Graph graph(model);
  const ExecutionPlan plan(graph);
  Segment whole;
  whole.end = static_cast<int>(plan.steps().size());
  const auto steps = plan.StepsFor(whole, {graph.Find("b0_n1")});
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_EQ(graph.nodes()[static_cast<size_t>(plan.steps()[static_cast<size_t>(steps[0])].node)]
                .op_type(),
            "Gather");
}

}  // namespace
}  // namespace ptq
