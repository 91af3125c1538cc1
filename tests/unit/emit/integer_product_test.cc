// Products of integers between QuantizeLinear and DequantizeLinear: the nodes, and who shares what.
#include "emit_testing.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/emit/linear_form.h"

namespace ptq {
namespace {

using testing::FakeSink;
using testing::RandomMatrix;
using testing::WeightOf;

LinearToEmit StaticProduct(const QuantizedMatrix& q, const std::string& name,
                           RoundedInputs* rounded) {
  LinearToEmit linear = testing::Describe(q);
  linear.name = name;
  linear.output = name + "_y";
  linear.node_name = name + "_node";
  linear.activations = Activations::kStatic;
  linear.levels = {0.5f, 7};
  linear.rounded = rounded;
  return linear;
}

std::vector<std::string> Operators(const std::vector<onnx::NodeProto>& nodes) {
  std::vector<std::string> types;
  for (const auto& node : nodes) types.push_back(node.op_type());
  return types;
}

TEST(IntegerProduct, RoundsTheActivationToTheLevelsThatItIsGiven) {
  std::mt19937 random(31);
  const QuantizedMatrix q = RandomMatrix(5, 6, 8, 0, true, random);
  FakeSink sink;
  RoundedInputs rounded;
  const auto nodes = FindLinearForm("qdq").Emit(StaticProduct(q, "a", &rounded), sink);
  EXPECT_THAT(Operators(nodes), ::testing::ElementsAre("QuantizeLinear", "DequantizeLinear",
                                                       "DequantizeLinear", "MatMul"));
  EXPECT_EQ(sink.tensors.at(nodes[0].input(1)).data<float>()[0], 0.5f);
  EXPECT_EQ(sink.tensors.at(nodes[0].input(2)).data<uint8_t>()[0], 7);
  EXPECT_EQ(testing::IntOf(nodes[2], "axis"), 1);
  const Tensor& codes = sink.tensors.at(nodes[2].input(0));
  const Tensor& scales = sink.tensors.at(nodes[2].input(1));
  EXPECT_EQ(codes.shape(), (Shape{6, 5}));
  for (int64_t n = 0; n < 5; ++n) {
    for (int64_t k = 0; k < 6; ++k) {
      const float code = codes.data<int8_t>()[size_t(k * 5 + n)];
      EXPECT_EQ(code * scales.data<float>()[size_t(n)], WeightOf(q, n, k));
    }
  }
}

TEST(IntegerProduct, SharesTheActivationAndNothingElseAmongSiblings) {
  std::mt19937 random(32);
  const QuantizedMatrix q = RandomMatrix(4, 8, 8, 0, false, random);
  FakeSink sink;
  RoundedInputs rounded;
  const auto a = FindLinearForm("qdq").Emit(StaticProduct(q, "a", &rounded), sink);
  const auto b = FindLinearForm("qdq").Emit(StaticProduct(q, "b", &rounded), sink);
  EXPECT_THAT(Operators(b), ::testing::ElementsAre("DequantizeLinear", "MatMul"));
  EXPECT_EQ(b[1].input(0), a[1].output(0));
  for (int i = 0; i < 3; ++i) EXPECT_NE(a[2].input(i), b[0].input(i));
}

TEST(IntegerProduct, IsAGemmWhereTheActivationIsAMatrixForSure) {
  std::mt19937 random(33);
  const QuantizedMatrix q = RandomMatrix(4, 8, 8, 0, true, random);
  FakeSink sink;
  LinearToEmit linear = StaticProduct(q, "a", nullptr);
  linear.is_matrix = true;
  linear.bias = "bias";
  linear.type = DType::kFloat16;
  EXPECT_THAT(Operators(FindLinearForm("qdq").Emit(linear, sink)),
              ::testing::ElementsAre("Cast", "QuantizeLinear", "DequantizeLinear",
                                     "DequantizeLinear", "Gemm", "Cast", "Add"));
}

TEST(IntegerProduct, HasLevelsOfItsOwnWhereItsSiblingHasOthers) {
  std::mt19937 random(34);
  const QuantizedMatrix q = RandomMatrix(4, 8, 8, 0, false, random);
  FakeSink sink;
  RoundedInputs rounded;
  (void)FindLinearForm("qdq").Emit(StaticProduct(q, "a", &rounded), sink);
  LinearToEmit other = StaticProduct(q, "b", &rounded);
  other.levels.zero_point = 8;
  EXPECT_EQ(Operators(FindLinearForm("qdq").Emit(other, sink)).front(), "QuantizeLinear");
}

TEST(IntegerProduct, RoundsTheActivationToSixteenBits) {
  std::mt19937 random(35);
  const QuantizedMatrix q = RandomMatrix(4, 8, 8, 0, true, random);
  FakeSink sink;
  LinearToEmit linear = StaticProduct(q, "a", nullptr);
  linear.levels = {0.5f, 40000, 16};
  const auto nodes = FindLinearForm("qdq").Emit(linear, sink);
  const Tensor& zero = sink.tensors.at(nodes[0].input(2));
  EXPECT_EQ(zero.dtype(), DType::kUint16);
  EXPECT_EQ(zero.data<uint16_t>()[0], 40000);
}

TEST(IntegerProduct, AddsThirtyTwoBitsInStepsOfBothScales) {
  std::mt19937 random(36);
  const QuantizedMatrix q = RandomMatrix(4, 8, 8, 0, true, random);
  FakeSink sink;
  LinearToEmit linear = StaticProduct(q, "a", nullptr);
  const std::vector<float> bias = {1.5f, -0.25f, 0, 1000};
  const auto [nodes, values] = FindLinearForm("qdq").EmitAddend(linear, bias, sink);
  ASSERT_THAT(Operators(nodes), ::testing::ElementsAre("DequantizeLinear"));
  const auto codes = sink.tensors.at(nodes[0].input(0)).data<int32_t>();
  const auto steps = sink.tensors.at(nodes[0].input(1)).data<float>();
  for (size_t n = 0; n < bias.size(); ++n) {
    EXPECT_EQ(steps[n], 0.5f * q.scales[n]);
    EXPECT_EQ(values[n], float(codes[n]) * steps[n]);
    EXPECT_LE(std::abs(double(codes[n]) * double(steps[n]) - double(bias[n])),
              0.5001 * std::abs(double(steps[n])));
  }
  linear.bias = nodes[0].output(0);
  linear.own_bias = true;
  const auto behind = FindLinearForm("qdq").Emit(linear, sink);
  EXPECT_EQ(behind.back().op_type(), "Add");
  linear.is_matrix = true;
  const auto within = FindLinearForm("qdq").Emit(linear, sink);
  EXPECT_EQ(within.back().op_type(), "Gemm");
  EXPECT_EQ(within.back().input(2), linear.bias);
  EXPECT_EQ(within.back().output(0), "a_y");
}

TEST(IntegerProduct, AddsFloatsWhereThirtyTwoBitsDoNotHoldTheSum) {
  std::mt19937 random(37);
  const QuantizedMatrix q = RandomMatrix(2, 8, 8, 0, true, random);
  FakeSink sink;
  const LinearToEmit linear = StaticProduct(q, "a", nullptr);
  const float step = 0.5f * q.scales[0];
  // Of 2³¹ − 1, the largest sum of 8 products takes 8 · 255².
  for (const auto& [codes, fits] : {std::pair{2.1469e9f, true}, std::pair{2.1471e9f, false}}) {
    const std::vector<float> bias = {codes * step, 0};
    const auto emitted = FindLinearForm("qdq").EmitAddend(linear, bias, sink);
    EXPECT_EQ(!emitted.nodes.empty(), fits) << codes;
  }
}

TEST(IntegerProduct, TakesWholeRowsOfEightBits) {
  const LinearForm& form = FindLinearForm("qdq");
  TensorFacts facts;
  facts.n = 4;
  facts.k = 8;
  FormParameters parameters{{8, 0, true, ScaleType::kFloat32}, 4, Activations::kStatic};
  EXPECT_EQ(form.Refusal(facts, parameters), "");
  EXPECT_EQ(form.Bytes(facts, parameters), 4 * 8 + 4 * 4 + 4);
  EXPECT_EQ(form.activations(parameters), Activations::kStatic);
  parameters.spec.bits = 7;  // stored in 8
  EXPECT_EQ(form.Refusal(facts, parameters), "");
  parameters.spec.group_size = 32;
  EXPECT_NE(form.Refusal(facts, parameters), "");
}

}  // namespace
}  // namespace ptq
