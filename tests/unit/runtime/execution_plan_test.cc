// What is constant, where a graph is cut, and what segments hand over.
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

/// What a call says when it throws UnsupportedError.
template <class Call>
std::string Refusal(const Call& call) {
  try {
    call();
  } catch (const UnsupportedError& error) {
    return error.what();
  }
  return "";
}

TEST(ExecutionPlan, NamesAnOperatorWithoutKernelWhenItIsToRun) {
  GraphBuilder b;
  b.Input("x", {2}).Op("NobodyKnowsThis", {"x"}, "y", "the_node").Output("y", {2});
  const Model model = b.Build();
  const Graph graph(model);
  const ExecutionPlan plan(graph);
  EXPECT_FALSE(plan.CanRun(0));
  const std::string why = Refusal([&] { plan.RequireKernels(); });
  EXPECT_THAT(why, ::testing::AllOf(::testing::HasSubstr("NobodyKnowsThis"),
                                    ::testing::HasSubstr("'the_node'")));
  EXPECT_EQ(Refusal([&] { plan.RequireKernel(0); }), why);
}

TEST(ExecutionPlan, NamesAFormOfAnOperatorThatItCannotRun) {
  GraphBuilder b;
  b.Input("x", {2}).Op("Cast", {"x"}, "y", "the_node").Int("to", 14).Output("y", {2});
  const Model model = b.Build();
  const Graph graph(model);
  const ExecutionPlan plan(graph);
  EXPECT_FALSE(plan.CanRun(0));
  EXPECT_THAT(Refusal([&] { plan.RequireKernels(); }), ::testing::HasSubstr("'the_node'"));
}

TEST(ExecutionPlan, TakesNothingForConstantOrAmbientThatItCannotCompute) {
  GraphBuilder b;
  b.Import("my.domain", 1).Input("x", {2, 4}).Random("w", {4, 4});
  b.Op("Identity", {"w"}, "copied").Op("Identity", {"w"}, "made").Domain("my.domain");
  b.Op("Transpose", {"made"}, "turned").Op("Tanh", {"x"}, "near");
  b.Op("Constant", {}, "no_constant").Domain("my.domain");
  testing::FillTensor(
      *testing::AddAttribute(b.last(), "value", onnx::AttributeProto::TENSOR).mutable_t(), "",
      testing::RandomTensor({4}, 1, 1));
  b.Op("Far", {"x"}, "far").Domain("my.domain").Op("MatMul", {"x", "turned"}, "y");
  b.Output("y", {2, 4}).Output("far", {2, 4}).Output("near", {2, 4}).Output("no_constant", {4});
  const Model model = b.Build();
  const Graph graph(model);
  const ExecutionPlan plan(graph);
  EXPECT_TRUE(plan.IsConstant(graph.Find("copied")));
  for (const char* name : {"made", "turned", "no_constant"}) {
    EXPECT_FALSE(plan.IsConstant(graph.Find(name))) << name;
  }
  EXPECT_TRUE(plan.IsAmbient(graph.Find("near")));
  EXPECT_FALSE(plan.IsAmbient(graph.Find("far")));
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

/// `blocks` blocks that add a mask, computed from the input, to what a product gives.
GraphBuilder Masked(int blocks) {
  GraphBuilder b;
  b.Input("ids", {-1, 4}, DType::kInt64).Random("table", {50, 32});
  b.Op("Gather", {"table", "ids"}, "h0").Op("Cast", {"ids"}, "float").Int("to", 1);
  b.Op("ReduceMean", {"float"}, "mask").Ints("axes", {1}).Int("keepdims", 1);
  for (int i = 0; i < blocks; ++i) {
    const std::string n = std::to_string(i), in = "h" + n, out = "h" + std::to_string(i + 1);
    b.Random("w" + n, {32, 32}).Random("v" + n, {32, 32});
    b.Op("MatMul", {in, "w" + n}, "p" + n).Op("Transpose", {"p" + n}, "t" + n);
    b.Ints("perm", {2, 0, 1}).Op("Mul", {"t" + n, "mask"}, "m" + n);
    b.Op("Transpose", {"m" + n}, "u" + n).Ints("perm", {1, 2, 0});
    b.Op("MatMul", {"u" + n, "v" + n}, "q" + n).Op("Add", {"q" + n, in}, out);
  }
  return b.Output("h" + std::to_string(blocks), {-1, 4, 32});
}

TEST(Segments, ComputeMasksAgainInsteadOfHandingThemOver) {
  const Model model = Masked(8).Build();
  const Graph graph(model);
  const ExecutionPlan plan(graph);
  EXPECT_TRUE(plan.IsAmbient(graph.Find("mask")));
  EXPECT_FALSE(plan.IsAmbient(graph.Find("h1")));
  ASSERT_GE(plan.segments().size(), 4u);
  const ValueId ids = graph.Find("ids");
  for (size_t i = 0; i + 1 < plan.segments().size(); ++i) {
    const auto& out = plan.segments()[i].live_out;
    EXPECT_EQ(std::ranges::count(out, graph.Find("mask")), 0) << i;
    EXPECT_EQ(std::ranges::count(out, ids), 1) << i;
  }
  const Segment& last = plan.segments().back();
  const auto steps = plan.StepsFor(last, {graph.Find("h8")});
  EXPECT_LT(steps.front(), last.begin) << "the mask's steps come first";
  EXPECT_EQ(std::ranges::count(steps, graph.value(graph.Find("h0")).producer), 0);
}

TEST(Segments, GiveOutputsThatAreComputedAgain) {
  const Model model = Masked(8).Output("mask", {-1, 1}).Build();
  const Graph graph(model);
  const ExecutionPlan plan(graph);
  ASSERT_TRUE(plan.IsAmbient(graph.Find("mask")));
  EXPECT_EQ(std::ranges::count(plan.segments().back().live_out, graph.Find("mask")), 1);
}

}  // namespace
}  // namespace ptq
