// Where the inverse of a scale goes in small graphs, and where it must not go.
#include "support/planned.h"
#include <gtest/gtest.h>

namespace ptq {
namespace {

using testing::GraphBuilder;
using testing::Planned;

/// x + `result` into one more linear, so that the narrowest place to cut is behind the sum.
GraphBuilder& Residual(GraphBuilder& b, const std::string& result) {
  b.Op("Add", {result, "x"}, "sum").Random("next.weight", {16, 16});
  return b.Op("MatMul", {"sum", "next.weight"}, "next").Op("Relu", {"next"}, "y");
}

/// x · gain, then a linear on it.
GraphBuilder GainThenLinear() {
  GraphBuilder b;
  b.Input("x", {-1, 16}).Random("gain", {16}).Op("Mul", {"gain", "x"}, "n");
  b.Random("a.weight", {16, 8}).Op("MatMul", {"n", "a.weight"}, "h").Op("Relu", {"h"}, "y");
  b.Output("y", {-1, 8});
  return b;
}

/// gate and up of x, multiplied, then down.
GraphBuilder Mlp() {
  GraphBuilder b;
  b.Input("x", {-1, 16}).Random("gate.weight", {16, 32}).Random("up.weight", {16, 32});
  b.Random("down.weight", {32, 16}).Op("MatMul", {"x", "gate.weight"}, "g");
  b.Op("Sigmoid", {"g"}, "act").Op("MatMul", {"x", "up.weight"}, "u");
  b.Op("Mul", {"act", "u"}, "m").Op("MatMul", {"m", "down.weight"}, "d");
  return Residual(b, "d").Output("y", {-1, 16});
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
  b.Op("Add", {"u", "bias"}, "m").Op("MatMul", {"m", "down.weight"}, "d");
  const Planned planned(Residual(b, "d").Output("y", {-1, 16}));
  const Fold& fold = planned.SiteOf("m").fold;
  ASSERT_EQ(fold.kind, Fold::Kind::kLinearRows);
  EXPECT_EQ(fold.bias.input, 1);
  EXPECT_EQ(planned.graph.nodes()[static_cast<size_t>(fold.bias.node)].op_type(), "Add");
}

TEST(Folds, DoNotGoIntoALinearOfAnEarlierSegment) {
  GraphBuilder b;  // without a residual: cut between the two
  b.Input("x", {-1, 16}).Random("up.weight", {16, 32}).Random("down.weight", {32, 16});
  b.Op("MatMul", {"x", "up.weight"}, "m").Op("MatMul", {"m", "down.weight"}, "d");
  const Planned planned(b.Op("Relu", {"d"}, "y").Output("y", {-1, 16}));
  ASSERT_EQ(planned.execution.segments().size(), 2u);
  EXPECT_EQ(planned.SiteOf("m").fold.kind, Fold::Kind::kMul);
}

TEST(Folds, PassAReluIntoTheRowsInFrontOfIt) {
  const auto folded = [](const std::string& function) {
    GraphBuilder b;
    b.Input("x", {-1, 16}).Random("up.weight", {16, 32}).Random("up.bias", {32});
    b.Random("down.weight", {32, 16}).Op("MatMul", {"x", "up.weight"}, "u");
    b.Op("Add", {"u", "up.bias"}, "h").Op(function, {"h"}, "r");
    b.Op("MatMul", {"r", "down.weight"}, "d");
    return Planned(Residual(b, "d").Output("y", {-1, 16})).SiteOf("r").fold.kind;
  };
  EXPECT_EQ(folded("Relu"), Fold::Kind::kLinearRows);
  EXPECT_EQ(folded("LeakyRelu"), Fold::Kind::kLinearRows);
  EXPECT_EQ(folded("Gelu"), Fold::Kind::kMul);
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

/// v of x as heads of 4, weighted by the input `probabilities`, merged, then o. `repeats` heads of
/// the result share a head of v.
GraphBuilder Attention(int repeats) {
  const int64_t rows = 8, k = rows * repeats;
  GraphBuilder b;
  b.Input("x", {1, -1, 16}).Input("probabilities", {1, -1, -1, -1});
  b.Random("v.weight", {16, rows}).Random("v.bias", {rows}).Random("o.weight", {k, 16});
  b.Weight("split", Tensor::From<int64_t>({4}, {0, 0, -1, 4}))
      .Weight("merge", Tensor::From<int64_t>({3}, {0, 0, k}));
  b.Weight("axes", Tensor::From<int64_t>({1}, {2}))
      .Weight("wide", Tensor::From<int64_t>({5}, {1, 1, repeats, 1, 1}));
  b.Weight("flat", Tensor::From<int64_t>({4}, {1, k / 4, -1, 4}));
  b.Op("MatMul", {"x", "v.weight"}, "v0").Op("Add", {"v0", "v.bias"}, "v1");
  b.Op("Reshape", {"v1", "split"}, "v2").Op("Transpose", {"v2"}, "heads");
  b.Ints("perm", {0, 2, 1, 3});
  if (repeats > 1) {
    b.Op("Unsqueeze", {"heads", "axes"}, "v4").Op("Expand", {"v4", "wide"}, "v5");
    b.Op("Reshape", {"v5", "flat"}, "repeated");
  }
  b.Op("MatMul", {"probabilities", repeats > 1 ? "repeated" : "heads"}, "a0");
  b.Op("Transpose", {"a0"}, "a1").Ints("perm", {0, 2, 1, 3}).Op("Reshape", {"a1", "merge"}, "a");
  b.Op("MatMul", {"a", "o.weight"}, "o");
  return Residual(b, "o").Output("y", {1, -1, 16});
}

TEST(Folds, GoThroughAttentionIntoTheRowsOfItsValues) {
  const Planned planned(Attention(1));
  const Fold& fold = planned.SiteOf("a").fold;
  ASSERT_EQ(fold.kind, Fold::Kind::kLinearRows);
  EXPECT_EQ(planned.plan.linears[static_cast<size_t>(fold.linear)].name, "v");
  EXPECT_EQ(fold.bias.input, 1);
  EXPECT_EQ(fold.row_of_channel, (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST(Folds, ShareARowAmongTheHeadsThatReadIt) {
  const Planned planned(Attention(2));
  const Fold& fold = planned.SiteOf("a").fold;
  ASSERT_EQ(fold.kind, Fold::Kind::kLinearRows);
  EXPECT_EQ(fold.row_of_channel,
            (std::vector<int64_t>{0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7}));
}

// A cache that is given out must hold the values themselves.
TEST(Folds, DoNotGoIntoValuesThatAreAnOutput) {
  GraphBuilder b = Attention(2);
  b.Output("heads", {1, 2, -1, 4});
  EXPECT_EQ(Planned(b).SiteOf("a").fold.kind, Fold::Kind::kMul);
}

TEST(Folds, GoThroughAttentionOperatorsWithoutACache) {
  for (const bool cache : {false, true}) {
    GraphBuilder b(23);
    b.Input("x", {1, -1, 16}).Input("past", {1, 2, -1, 4});
    for (const char* name : {"q", "k", "v", "o"}) {
      b.Random(std::string(name) + ".weight", {16, *name == 'k' || *name == 'v' ? 8 : 16});
    }
    b.Op("MatMul", {"x", "q.weight"}, "q").Op("MatMul", {"x", "k.weight"}, "k");
    b.Op("MatMul", {"x", "v.weight"}, "v");
    const std::string past = cache ? "past" : "";
    b.Op("Attention", {"q", "k", "v", "", past, past}, "a");
    b.Int("q_num_heads", 4).Int("kv_num_heads", 2);
    b.Op("MatMul", {"a", "o.weight"}, "o");
    const Planned planned(Residual(b, "o").Output("y", {1, -1, 16}));
    const Fold& fold = planned.SiteOf("a").fold;
    if (cache) {
      EXPECT_EQ(fold.kind, Fold::Kind::kMul);
    } else {
      ASSERT_EQ(fold.kind, Fold::Kind::kLinearRows);
      EXPECT_EQ(fold.row_of_channel[9], 5);
    }
  }
}

}  // namespace
}  // namespace ptq
