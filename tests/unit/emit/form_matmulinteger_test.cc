// Products of integers: what the nodes compute, run by our kernels, and how siblings share.
#include <functional>

#include "emit_testing.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/emit/linear_form.h"
#include "ptq/emit/stored_codes.h"

namespace ptq {
namespace {

using testing::FakeSink;
using testing::RandomMatrix;
using testing::WeightOf;

const LinearForm& IntegerForm() { return FindLinearForm("matmulinteger"); }

LinearToEmit IntegerProduct(const QuantizedMatrix& q, const std::string& output = "y",
                            DType type = DType::kFloat32) {
  LinearToEmit linear = testing::Describe(q, type);
  linear.output = output;
  linear.node_name = output + "_node";
  return linear;
}

std::vector<std::string> TypesOf(const std::vector<onnx::NodeProto>& nodes) {
  std::vector<std::string> types;
  for (const auto& node : nodes) types.push_back(node.op_type());
  return types;
}

TEST(MatMulInteger, StoresTheCodesAsThePlanCountsThem) {
  std::mt19937 random(3);
  for (const bool symmetric : {true, false}) {
    for (const int bits : {7, 8}) {
      const QuantizedMatrix q = RandomMatrix(5, 6, bits, 0, symmetric, random);
      const QuantizedMatrix stored = AsStored(q);
      FakeSink sink;
      (void)IntegerForm().Emit(IntegerProduct(stored), sink);
      const Tensor& codes = sink.tensors.at("layer.weight_q8");
      EXPECT_EQ(codes.shape(), (Shape{6, 5}));
      EXPECT_EQ(codes.dtype(), symmetric ? DType::kInt8 : DType::kUint8);
      EXPECT_EQ(sink.tensors.contains("layer.weight_zero_points"), !symmetric);
      for (int64_t n = 0; n < 5; ++n) {
        for (int64_t k = 0; k < 6; ++k) {
          const size_t at = size_t(k * 5 + n);
          const int code = symmetric ? codes.data<int8_t>()[at] : codes.data<uint8_t>()[at];
          const int zero =
              symmetric ? 0
                        : sink.tensors.at("layer.weight_zero_points").data<uint8_t>()[size_t(n)];
          const float scale = sink.tensors.at("layer.weight_scales").data<float>()[size_t(n)];
          EXPECT_EQ(float(code - zero) * scale, WeightOf(q, n, k));
          EXPECT_LE(std::abs(code), symmetric && bits == 7 ? 64 : 255);
        }
      }
    }
  }
}

TEST(MatMulInteger, IsWrittenAsTheNodesThatRuntimesFuse) {
  std::mt19937 random(4);
  const QuantizedMatrix q = RandomMatrix(4, 8, 8, 0, false, random);
  FakeSink sink;
  const auto nodes = IntegerForm().Emit(IntegerProduct(q), sink);
  EXPECT_THAT(TypesOf(nodes), ::testing::ElementsAre("DynamicQuantizeLinear", "MatMulInteger",
                                                     "Cast", "Mul", "Mul"));
  EXPECT_EQ(nodes[1].input(2), nodes[0].output(2));
  EXPECT_EQ(nodes[3].input(0), nodes[0].output(1));
  EXPECT_EQ(nodes.back().output(0), "y");
  LinearToEmit with_bias = IntegerProduct(q);
  with_bias.bias = "b";
  EXPECT_EQ(IntegerForm().Emit(with_bias, sink).back().op_type(), "Add");
}

TEST(MatMulInteger, RoundsAnActivationOnceForAllSiblings) {
  std::mt19937 random(5);
  const QuantizedMatrix q = RandomMatrix(4, 8, 8, 0, false, random);
  FakeSink sink;
  RoundedInputs rounded;
  LinearToEmit first = IntegerProduct(q, "y"), second = IntegerProduct(q, "z"),
               other = IntegerProduct(q, "u");
  first.rounded = second.rounded = other.rounded = &rounded;
  other.input = "w";
  const auto of_first = IntegerForm().Emit(first, sink);
  const auto of_second = IntegerForm().Emit(second, sink);
  EXPECT_EQ(of_first[0].op_type(), "DynamicQuantizeLinear");
  EXPECT_EQ(of_second[0].op_type(), "MatMulInteger");
  EXPECT_EQ(of_second[0].input(0), of_first[0].output(0));
  EXPECT_EQ(IntegerForm().Emit(other, sink)[0].op_type(), "DynamicQuantizeLinear");
}

TEST(MatMulInteger, CastsAroundWhatIsNotFloat32) {
  std::mt19937 random(6);
  const QuantizedMatrix q = RandomMatrix(4, 8, 8, 0, true, random);
  FakeSink sink;
  LinearToEmit linear = IntegerProduct(q, "y", DType::kFloat16);
  linear.bias = "b";
  EXPECT_THAT(TypesOf(IntegerForm().Emit(linear, sink)),
              ::testing::ElementsAre("Cast", "DynamicQuantizeLinear", "MatMulInteger", "Cast",
                                     "Mul", "Mul", "Cast", "Add"));
  EXPECT_EQ(sink.tensors.at("layer.weight_scales").dtype(), DType::kFloat32);
}

TEST(MatMulInteger, RefusesWhatItCannotHold) {
  EXPECT_THROW(IntegerForm().CheckSpec({4, 0, true, ScaleType::kFloat32}), UsageError);
  EXPECT_THROW(IntegerForm().CheckSpec({8, 32, true, ScaleType::kFloat32}), UsageError);
  TensorFacts facts;
  facts.n = 4;
  facts.k = 33025;
  const FormParameters parameters{{8, 0, false, ScaleType::kFloat32}, 4};
  EXPECT_EQ(IntegerForm().Refusal(facts, parameters), "");
  facts.k = 33026;
  EXPECT_THAT(IntegerForm().Refusal(facts, parameters), ::testing::HasSubstr("leave 32 bits"));
  facts.k = 8;
  facts.kind = SubjectKind::kStack;
  EXPECT_THAT(IntegerForm().Refusal(facts, parameters), ::testing::HasSubstr("stack"));
  facts.kind = SubjectKind::kLinear;
  EXPECT_NE(IntegerForm().Refusal(facts, {{8, 32, false, ScaleType::kFloat32}, 4}), "");
}

/// A packed attention of 2 heads of 2, whose projection has 12 outputs.
onnx::NodeProto Packed() {
  onnx::NodeProto packed;
  testing::FillNode(packed, "Attention", {"x", "w", "b", "mask"}, {"attended"}, "attention");
  testing::SetInt(packed, "num_heads", 2);
  return packed;
}

TEST(MatMulInteger, WritesAPackedAttentionAsAWhole) {
  std::mt19937 random(8);
  for (const bool symmetric : {false, true}) {
    const QuantizedMatrix q = RandomMatrix(12, 8, 8, 0, symmetric, random);
    const onnx::NodeProto packed = Packed();
    LinearToEmit linear = IntegerProduct(q);
    linear.attention = PackedAttention{&packed, 5, "bias_now"};
    FakeSink sink;
    const auto nodes = IntegerForm().Emit(linear, sink);
    ASSERT_THAT(TypesOf(nodes), ::testing::ElementsAre("DynamicQuantizeLinear", "QAttention"));
    const onnx::NodeProto& node = nodes.back();
    EXPECT_EQ(node.domain(), "com.microsoft");
    EXPECT_EQ(node.output(0), "attended");
    EXPECT_EQ(testing::IntOf(node, "num_heads"), 2);
    std::vector<std::string> inputs = {nodes[0].output(0), "layer.weight_q8",     "bias_now",
                                       nodes[0].output(1), "layer.weight_scales", "mask",
                                       nodes[0].output(2)};
    if (!symmetric) inputs.push_back("layer.weight_zero_points");
    EXPECT_THAT(std::vector<std::string>(node.input().begin(), node.input().end()),
                ::testing::ElementsAreArray(inputs));
  }
}

TEST(MatMulInteger, LeavesAnAttentionThatQAttentionCannotComputeAProductOfItsOwn) {
  std::mt19937 random(9);
  const QuantizedMatrix q = RandomMatrix(12, 8, 8, 0, false, random);
  const auto last_type = [&](const std::function<void(LinearToEmit&, onnx::NodeProto&)>& change) {
    onnx::NodeProto packed = Packed();
    LinearToEmit linear = IntegerProduct(q);
    linear.attention = PackedAttention{&packed, 5, "b"};
    change(linear, packed);
    FakeSink sink;
    return IntegerForm().Emit(linear, sink).back().op_type();
  };
  EXPECT_EQ(last_type([](auto&, auto&) {}), "QAttention");
  EXPECT_EQ(last_type([](auto&, auto& packed) {
              testing::SetInts(packed, "qkv_hidden_sizes", {4, 4, 4});
            }),
            "QAttention");
  EXPECT_EQ(last_type([](auto&, auto& packed) {
              testing::SetInts(packed, "qkv_hidden_sizes", {2, 2, 8});
            }),
            "Mul");
  EXPECT_EQ(last_type([](auto&, auto& packed) { packed.add_input("past"); }), "Mul");
  EXPECT_EQ(last_type([](auto&, auto& packed) { packed.add_output("present"); }), "Mul");
  EXPECT_EQ(last_type([](auto& linear, auto&) { linear.attention->bias.clear(); }), "Mul");
  EXPECT_EQ(last_type([](auto& linear, auto&) { linear.bias = "correction"; }), "Add");
  EXPECT_EQ(last_type([](auto& linear, auto&) { linear.type = DType::kFloat16; }), "Cast");
}

}  // namespace
}  // namespace ptq
