// Which nodes are linears, what shape they have, and what is decided for them.
#include "ptq/plan/plan.h"

#include "support/planned.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using testing::GraphBuilder;
using testing::Planned;

GraphBuilder Input16() {
  GraphBuilder b;
  b.Input("x", {-1, 16});
  return b;
}

TEST(FindLinears, SeesAMatMulAsKByN) {
  GraphBuilder b = Input16();
  b.Random("a.weight", {16, 8}).Op("MatMul", {"x", "a.weight"}, "h").Op("Relu", {"h"}, "y");
  const Planned planned(b.Output("y", {-1, 8}));
  const Linear& linear = planned.Find("a");
  EXPECT_EQ(linear.k, 16);
  EXPECT_EQ(linear.n, 8);
  EXPECT_FALSE(linear.operand_is_nk);
  EXPECT_TRUE(linear.decision.quantizes());
  EXPECT_EQ(linear.site, planned.graph.Find("x"));
  EXPECT_FALSE(linear.is_head);
}

TEST(FindLinears, TakesNothingOfAnUnknownDomainForAProductOrAWeight) {
  GraphBuilder b = Input16();
  b.Import("my.domain", 1).Random("a.weight", {16, 16}).Random("b.weight", {16, 8});
  b.Op("MatMul", {"x", "a.weight"}, "h").Domain("my.domain");
  b.Op("Identity", {"b.weight"}, "made").Domain("my.domain").Op("MatMul", {"h", "made"}, "m");
  b.Op("MatMul", {"h", "b.weight"}, "n").Op("Add", {"m", "n"}, "y");
  const Planned planned(b.Output("y", {-1, 8}));
  ASSERT_EQ(planned.plan.linears.size(), 1u);
  const Linear& linear = planned.Find("b");
  EXPECT_TRUE(linear.decision.quantizes());
  EXPECT_TRUE(linear.reused);  // by a node of which nobody knows what it does
}

TEST(FindLinears, KeepsAProductInAFormThatCannotRun) {
  GraphBuilder b(6);
  b.Input("x", {4, 16}).Random("a.weight", {16, 8}).Random("bias", {8});
  b.Op("Gemm", {"x", "a.weight", "bias"}, "h").Op("MatMul", {"x", "a.weight"}, "m");
  b.Op("Relu", {"h"}, "y").Output("y", {4, 8}).Output("m", {4, 8});
  const Planned planned(b);
  ASSERT_EQ(planned.plan.linears.size(), 2u);
  EXPECT_TRUE(planned.plan.linears[0].decision.keeps());
  EXPECT_TRUE(planned.plan.linears[1].decision.quantizes());
}

TEST(FindLinears, SeesAGemmWithTransposedWeightAndBias) {
  GraphBuilder b = Input16();
  b.Random("a.weight", {8, 16}).Random("bias", {8});
  b.Op("Gemm", {"x", "a.weight", "bias"}, "h").Int("transB", 1).Op("Relu", {"h"}, "y");
  const Planned planned(b.Output("y", {-1, 8}));
  const Linear& linear = planned.Find("a");
  EXPECT_EQ(linear.k, 16);
  EXPECT_EQ(linear.n, 8);
  EXPECT_TRUE(linear.operand_is_nk);
  EXPECT_EQ(linear.bias, planned.graph.Find("bias"));
}

TEST(FindLinears, LooksThroughTransposeCastAndIdentity) {
  GraphBuilder b = Input16();
  b.Weight("a.weight", testing::RandomTensor({8, 16}, 1, 3).Cast(DType::kFloat16));
  b.Op("Identity", {"a.weight"}, "i").Op("Transpose", {"i"}, "t").Ints("perm", {1, 0});
  b.Op("Cast", {"t"}, "c").Int("to", 1).Op("MatMul", {"x", "c"}, "h").Op("Relu", {"h"}, "y");
  const Planned planned(b.Output("y", {-1, 8}));
  const Linear& linear = planned.Find("a");
  EXPECT_EQ(linear.k, 16);
  EXPECT_EQ(linear.n, 8);
  EXPECT_EQ(linear.stored, planned.graph.Find("a.weight"));
  EXPECT_EQ(linear.operand, planned.graph.Find("c"));
  EXPECT_EQ(linear.stored_type, DType::kFloat16);
  EXPECT_EQ(linear.operand_type, DType::kFloat32);
}

TEST(FindLinears, TakesFusedMatMulAndSpellsAScaledOneOut) {
  GraphBuilder b = Input16();
  b.Import("com.microsoft", 1).Random("a.weight", {8, 16}).Random("b.weight", {16, 8});
  b.Op("FusedMatMul", {"x", "a.weight"}, "h").Domain("com.microsoft").Int("transB", 1);
  b.Op("FusedMatMul", {"x", "b.weight"}, "g").Domain("com.microsoft");
  auto& alpha = testing::AddAttribute(b.last(), "alpha", onnx::AttributeProto::FLOAT);
  alpha.set_f(0.5f);
  b.Op("Add", {"h", "g"}, "s").Op("Relu", {"s"}, "y");
  const Planned planned(b.Output("y", {-1, 8}));
  EXPECT_TRUE(planned.Find("a").decision.quantizes());
  EXPECT_TRUE(planned.Find("a").operand_is_nk);
  EXPECT_TRUE(planned.Find("b").decision.quantizes());
  EXPECT_FALSE(planned.Find("b").operand_is_nk);
}

TEST(FindLinears, SeesPartsOfOneWeightAsLayersOfTheirOwn) {
  GraphBuilder b = Input16();
  b.Random("qkv.weight", {3, 16, 8}).Input("unused", {1});
  std::vector<std::string> products;
  for (int64_t i = 0; i < 3; ++i) {
    const std::string name = std::to_string(i);
    Tensor index(DType::kInt64, {});
    index.mutable_data<int64_t>()[0] = i;
    b.Weight("i" + name, index).Op("Gather", {"qkv.weight", "i" + name}, "w" + name);
    b.Op("MatMul", {"x", "w" + name}, "p" + name);
    products.push_back("p" + name);
  }
  b.Op("Sum", products, "s").Op("Relu", {"s"}, "y");
  const Planned planned(b.Output("y", {-1, 8}));
  ASSERT_EQ(planned.plan.linears.size(), 3u);
  for (const std::string name : {"qkv.0", "qkv.1", "qkv.2"}) {
    EXPECT_TRUE(planned.Find(name).decision.quantizes());
    EXPECT_FALSE(planned.Find(name).reused) << name;
  }
}

TEST(FindLinears, StacksTheMatricesThatAreGatheredForEachToken) {
  GraphBuilder b;
  b.Input("x", {-1, 1, 16}).Input("expert", {-1}, DType::kInt64);
  b.Random("experts.weight", {4, 8, 16}).Op("Gather", {"experts.weight", "expert"}, "g");
  b.Op("Transpose", {"g"}, "t").Ints("perm", {0, 2, 1});
  b.Op("MatMul", {"x", "t"}, "h").Op("Relu", {"h"}, "y").Output("y", {-1, 1, 8});
  const Planned planned(b);
  ASSERT_EQ(planned.plan.linears.size(), 1u);
  const Linear& linear = planned.plan.linears.front();
  EXPECT_EQ(linear.experts, 4);
  EXPECT_EQ(linear.n, 32);
  EXPECT_EQ(linear.k, 16);
  EXPECT_TRUE(linear.operand_is_nk);
  EXPECT_EQ(linear.site, planned.graph.Find("x"));
}

TEST(Plan, FollowsAProductOfConstantsOnManyWays) {
  GraphBuilder b = Input16();
  b.Random("a.weight", {16, 16}).Random("places", {4, 16}, 1e-18f);
  b.Op("MatMul", {"x", "a.weight"}, "h").Op("MatMul", {"places", "a.weight"}, "c0");
  for (int i = 0; i < 60; ++i) {  // by 2^60 ways to its reader
    const std::string from = "c" + std::to_string(i);
    b.Op("Add", {from, from}, "c" + std::to_string(i + 1));
  }
  b.Op("Transpose", {"c60"}, "t").Op("MatMul", {"x", "t"}, "s");
  b.Op("Concat", {"h", "s"}, "y").Int("axis", 1);
  const Planned planned(b.Output("y", {-1, 20}));
  EXPECT_EQ(planned.Find("a").constant_products.size(), 1u);
}

TEST(Plan, LeavesTheRouterOfExpertsAsItIs) {
  GraphBuilder b = Input16();
  Tensor two(DType::kInt64, {1});
  two.mutable_data<int64_t>()[0] = 2;
  b.Random("gate.weight", {16, 4}).Random("up.weight", {16, 4}).Weight("two", two);
  b.Op("MatMul", {"x", "gate.weight"}, "scores").Op("Softmax", {"scores"}, "p");
  b.Op("TopK", {"p", "two"}, "best");
  b.last().add_output("chosen");
  b.Op("MatMul", {"x", "up.weight"}, "h").Op("ReduceSum", {"h"}, "s").Op("Mul", {"best", "s"}, "y");
  b.Output("y", {-1, 2});
  const Planned planned(b);
  EXPECT_TRUE(planned.Find("gate").decision.keeps());
  EXPECT_THAT(planned.Find("gate").decision.reason, ::testing::HasSubstr("router"));
  EXPECT_TRUE(planned.Find("up").decision.quantizes());
  PlanOptions options;
  options.include = {"gate"};
  EXPECT_TRUE(Planned(b, options).Find("gate").decision.quantizes());
}

TEST(FindLinears, IgnoresProductsOfActivationsAndWithVectors) {
  const Planned planned(testing::ToyDecoder(2));
  EXPECT_EQ(planned.plan.linears.size(), 15u);
  EXPECT_EQ(planned.plan.sites.size(), 8u);
  EXPECT_EQ(planned.SiteOf("b0_n1").linears.size(), 3u);
}

TEST(MakePlan, RefusesAModelWithoutLinears) {
  GraphBuilder b = Input16();
  b.Op("Relu", {"x"}, "y").Output("y", {-1, 16});
  EXPECT_THROW(Planned{b}, UnsupportedError);
}

TEST(MakePlan, FindsTheHeadByWhereItLeads) {
  for (const auto& [form, decision, bits] : {std::tuple{Precision::kHalf, "fp16", 4},
                                             {Precision::kKeep, "keep", 4},
                                             {Precision::kInt8, "quantize", 8},
                                             {Precision::kInt4, "quantize", 4}}) {
    PlanOptions options;
    options.head = form;
    const Planned planned(testing::ToyDecoder(1), options);
    const Linear& head = planned.Find("lm_head");
    EXPECT_TRUE(head.is_head);
    EXPECT_EQ(DecisionName(head.decision), decision);
    EXPECT_EQ(head.spec().bits, bits);
    for (const Linear& linear : planned.plan.linears) {
      EXPECT_EQ(linear.is_head, &linear == &head) << linear.name;
    }
  }
}

TEST(MakePlan, MarksReusedWeightsAndDoesNotScaleThem) {
  GraphBuilder b = Input16();
  b.Random("a.weight", {16, 16}).Op("MatMul", {"x", "a.weight"}, "h").Op("Relu", {"h"}, "r");
  b.Op("MatMul", {"r", "a.weight"}, "g").Op("Relu", {"g"}, "y").Output("y", {-1, 16});
  const Planned planned(b);
  ASSERT_EQ(planned.plan.linears.size(), 2u);
  EXPECT_NE(planned.plan.linears[0].name, planned.plan.linears[1].name);
  for (const Linear& linear : planned.plan.linears) EXPECT_TRUE(linear.reused);
  for (const Site& site : planned.plan.sites) {
    EXPECT_FALSE(site.scaling_allowed);
    EXPECT_THAT(site.scaling_note, ::testing::HasSubstr("shares"));
  }
}

TEST(MakePlan, MarksAHeadThatIsTiedToTheEmbeddings) {
  GraphBuilder b;
  b.Input("ids", {-1}, DType::kInt64).Random("embed.weight", {32, 16});
  b.Op("Gather", {"embed.weight", "ids"}, "x").Op("Transpose", {"embed.weight"}, "wt");
  b.Op("MatMul", {"x", "wt"}, "logits").Output("logits", {-1, 32});
  const Planned planned(b);
  EXPECT_TRUE(planned.plan.linears[0].is_head);
  EXPECT_TRUE(planned.plan.linears[0].reused);
}

TEST(MakePlan, FollowsIncludeAndExclude) {
  PlanOptions options;
  options.include = {"*.mlp.*"};
  options.exclude = {"/layers\\.0\\..*down/"};
  const Planned planned(testing::ToyDecoder(2), options);
  EXPECT_TRUE(planned.Find("model.layers.0.mlp.gate_proj").decision.quantizes());
  EXPECT_TRUE(planned.Find("model.layers.1.mlp.down_proj").decision.quantizes());
  EXPECT_TRUE(planned.Find("model.layers.0.mlp.down_proj").decision.keeps());
  EXPECT_THAT(planned.Find("model.layers.0.mlp.down_proj").decision.reason,
              ::testing::HasSubstr("excluded"));
  EXPECT_TRUE(planned.Find("model.layers.0.self_attn.q_proj").decision.keeps());
  EXPECT_TRUE(planned.Find("lm_head").decision.keeps());
}

TEST(MakePlan, RefusesPatternsThatMatchNothing) {
  PlanOptions options;
  options.exclude = {"*.nobody"};
  EXPECT_THROW(Planned(testing::ToyDecoder(1), options), UsageError);
  options.exclude = {};
  options.include = {"/nobody/"};
  EXPECT_THROW(Planned(testing::ToyDecoder(1), options), UsageError);
}

}  // namespace
}  // namespace ptq
