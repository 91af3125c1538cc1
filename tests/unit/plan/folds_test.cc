#include "plan_testing.h"
#include <gtest/gtest.h>

namespace ptq {
namespace {

using testing::GraphBuilder;
using testing::Planned;

/// x · gain, then a linear on it.
GraphBuilder GainThenLinear() {
  GraphBuilder b;
  b.Input("x", {-1, 16}).Random("gain", {16}).Op("Mul", {"gain", "x"}, "n");
  b.Random("a.weight", {16, 8}).Op("MatMul", {"n", "a.weight"}, "h").Op("Relu", {"h"}, "y");
  b.Output("y", {-1, 8});
  return b;
}

/// gate and up of x, multiplied, then down. `activated` is what goes into the product.
GraphBuilder Mlp() {
  GraphBuilder b;
  b.Input("x", {-1, 16}).Random("gate.weight", {16, 32}).Random("up.weight", {16, 32});
  b.Random("down.weight", {32, 16}).Op("MatMul", {"x", "gate.weight"}, "g");
  b.Op("Sigmoid", {"g"}, "act").Op("MatMul", {"x", "up.weight"}, "u");
  b.Op("Mul", {"act", "u"}, "m").Op("MatMul", {"m", "down.weight"}, "d").Op("Relu", {"d"}, "y");
  b.Output("y", {-1, 16});
  return b;
}

TEST(Folds, GoIntoTheGainInFrontOfTheLinear) {
  const Planned planned(GainThenLinear());
  const Fold& fold = planned.SiteOf("n").fold;
  ASSERT_EQ(fold.kind, Fold::Kind::kGain);
  ASSERT_EQ(fold.gains.size(), 1u);
  EXPECT_EQ(planned.graph.nodes()[static_cast<size_t>(fold.gains[0].node)].op_type(), "Mul");
  EXPECT_EQ(fold.gains[0].input, 0);
}

TEST(Folds, IgnoreReadersOfTheShapeAlone) {
  GraphBuilder b = GainThenLinear();
  b.Op("Shape", {"n"}, "shape").Output("shape", {2}, DType::kInt64);
  EXPECT_EQ(Planned(b).SiteOf("n").fold.kind, Fold::Kind::kGain);
}

TEST(Folds, AreAMulWhenSomebodyElseReadsTheActivation) {
  GraphBuilder b = GainThenLinear();
  b.Op("Relu", {"n"}, "other").Output("other", {-1, 16});
  EXPECT_EQ(Planned(b).SiteOf("n").fold.kind, Fold::Kind::kMul);
}

TEST(Folds, AreAMulWhenTheActivationIsAnOutput) {
  GraphBuilder b = GainThenLinear();
  b.Output("n", {-1, 16});
  EXPECT_EQ(Planned(b).SiteOf("n").fold.kind, Fold::Kind::kMul);
}

TEST(Folds, AreAMulWhenALinearThatIsKeptReadsTheActivation) {
  PlanOptions options;
  options.exclude = {"*.k_proj"};
  const Planned planned(testing::ToyDecoder(1), options);
  EXPECT_EQ(planned.SiteOf("b0_n1").fold.kind, Fold::Kind::kMul);
  EXPECT_EQ(planned.SiteOf("b0_n2").fold.kind, Fold::Kind::kGain);
}

TEST(Folds, GoIntoGainAndBiasOfALayerNorm) {
  const Planned planned(testing::ToyDecoder(1));
  const Fold& fold = planned.SiteOf("b0_n1").fold;
  ASSERT_EQ(fold.kind, Fold::Kind::kGain);
  ASSERT_EQ(fold.gains.size(), 2u);
  EXPECT_EQ(fold.gains[0].input, 1);
  EXPECT_EQ(fold.gains[1].input, 2);
}

TEST(Folds, GoIntoTheBiasBehindAGain) {
  GraphBuilder b;
  b.Input("x", {-1, 16}).Random("gain", {16}).Random("bias", {16});
  b.Op("Mul", {"x", "gain"}, "m").Op("Add", {"m", "bias"}, "n");
  b.Random("a.weight", {16, 8}).Op("MatMul", {"n", "a.weight"}, "h").Op("Relu", {"h"}, "y");
  const Planned planned(b.Output("y", {-1, 8}));
  const Fold& fold = planned.SiteOf("n").fold;
  ASSERT_EQ(fold.kind, Fold::Kind::kGain);
  EXPECT_EQ(fold.gains.size(), 2u);
}

TEST(Folds, GoIntoTheRowsOfUpThroughTheProductWithTheGate) {
  const Planned planned(Mlp());
  const Fold& fold = planned.SiteOf("m").fold;
  ASSERT_EQ(fold.kind, Fold::Kind::kLinearRows);
  EXPECT_EQ(planned.plan.linears[static_cast<size_t>(fold.linear)].name, "up");
  EXPECT_EQ(fold.bias.node, -1);
  ASSERT_EQ(fold.row_of_channel.size(), 32u);
  EXPECT_EQ(fold.row_of_channel[31], 31);
}

TEST(Folds, DoNotGoIntoRowsThatAreReadElsewhere) {
  GraphBuilder b = Mlp();
  b.Op("Relu", {"u"}, "other").Output("other", {-1, 32});
  EXPECT_EQ(Planned(b).SiteOf("m").fold.kind, Fold::Kind::kMul);
}

TEST(Folds, DoNotGoIntoALinearThatIsKept) {
  PlanOptions options;
  options.exclude = {"up"};
  EXPECT_EQ(Planned(Mlp(), options).SiteOf("m").fold.kind, Fold::Kind::kMul);
}

TEST(Folds, DivideTheBiasBehindTheRowsToo) {
  GraphBuilder b;
  b.Input("x", {-1, 16}).Random("up.weight", {16, 32}).Random("bias", {32});
  b.Random("down.weight", {32, 16}).Op("MatMul", {"x", "up.weight"}, "u");
  b.Op("Add", {"u", "bias"}, "m").Op("MatMul", {"m", "down.weight"}, "d").Op("Relu", {"d"}, "y");
  const Planned planned(b.Output("y", {-1, 16}));
  const Fold& fold = planned.SiteOf("m").fold;
  ASSERT_EQ(fold.kind, Fold::Kind::kLinearRows);
  EXPECT_EQ(fold.bias.input, 1);
  EXPECT_EQ(planned.graph.nodes()[static_cast<size_t>(fold.bias.node)].op_type(), "Add");
}

TEST(Folds, DoNotPassANonlinearFunction) {
  GraphBuilder b;
  b.Input("x", {-1, 16}).Random("up.weight", {16, 32}).Random("down.weight", {32, 16});
  b.Op("MatMul", {"x", "up.weight"}, "u").Op("Sigmoid", {"u"}, "m");
  b.Op("MatMul", {"m", "down.weight"}, "d").Op("Relu", {"d"}, "y").Output("y", {-1, 16});
  EXPECT_EQ(Planned(b).SiteOf("m").fold.kind, Fold::Kind::kMul);
}

// One scale cannot be divided out of two biases: Gemm's own and the Add's.
TEST(Folds, DoNotGoIntoRowsBehindTwoBiases) {
  GraphBuilder b;
  b.Input("x", {-1, 16}).Random("up.weight", {16, 32}).Random("c", {32}).Random("bias", {32});
  b.Random("down.weight", {32, 16}).Op("Gemm", {"x", "up.weight", "c"}, "u");
  b.Op("Add", {"u", "bias"}, "m").Op("MatMul", {"m", "down.weight"}, "d").Op("Relu", {"d"}, "y");
  EXPECT_EQ(Planned(b.Output("y", {-1, 16})).SiteOf("m").fold.kind, Fold::Kind::kMul);
}

}  // namespace
}  // namespace ptq
