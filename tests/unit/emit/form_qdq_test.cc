// The weights that DequantizeLinear in front of a MatMul means, by the definition of opset 21.
#include "emit_testing.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/emit/linear_form.h"

namespace ptq {
namespace {

using testing::CodeAt;
using testing::Describe;
using testing::FakeSink;
using testing::IntOf;

const LinearForm& QdqForm() { return FindLinearForm("qdq"); }

int ValueAt(const Tensor& tensor, int64_t i) {
  const int bits = BitsOf(tensor.dtype());
  const int code = CodeAt(tensor.bytes(), bits, i);
  const bool is_signed = tensor.dtype() == DType::kInt2 || tensor.dtype() == DType::kInt4 ||
                         tensor.dtype() == DType::kInt8;
  return is_signed && code >= 1 << (bits - 1) ? code - (1 << bits) : code;
}

/// Element [k, n] of the dequantized weight, as DequantizeLinear-21 defines it.
float WeightInQdqNode(const onnx::NodeProto& node, FakeSink& sink, int64_t n, int64_t k) {
  const Tensor& codes = sink.tensors.at(node.input(0));
  const Tensor& scales = sink.tensors.at(node.input(1));
  const int64_t columns = codes.dim(1);
  const int64_t block_size = IntOf(node, "block_size", 0);
  const int64_t at = block_size == 0 ? n : k / block_size * columns + n;
  const int zero_point = node.input_size() > 2 ? ValueAt(sink.tensors.at(node.input(2)), at) : 0;
  return float(ValueAt(codes, k * columns + n) - zero_point) * scales.data<float>()[size_t(at)];
}

TEST(Qdq, MeansTheSameWeightsForAnyShapeAndSpec) {
  std::mt19937 random(1);
  for (const int bits : {2, 4, 8}) {
    for (const int64_t group : {16, 32, 128, 0}) {
      for (const bool symmetric : {true, false}) {
        for (const auto& [n, k] : {std::pair{5, 83}, {3, 256}, {1, 7}, {67, 20}}) {
          const auto q = testing::RandomMatrix(n, k, bits, group, symmetric, random);
          FakeSink sink;
          const auto nodes = QdqForm().Emit(Describe(q), sink);
          ASSERT_EQ(nodes.size(), 2u);
          // One block that holds all of K is written as a scale for each channel.
          EXPECT_EQ(IntOf(nodes[0], "axis"), group == 0 || k <= group ? 1 : 0);
          EXPECT_EQ(nodes[0].input_size(), symmetric ? 2 : 3);
          for (int64_t row = 0; row < n; ++row) {
            for (int64_t column = 0; column < k; ++column) {
              ASSERT_EQ(WeightInQdqNode(nodes[0], sink, row, column),
                        testing::WeightOf(q, row, column))
                  << bits << " bits, group " << group;
            }
          }
        }
      }
    }
  }
}

TEST(Qdq, StoresSignedCodesWhenSymmetricAndUnsignedOnesOtherwise) {
  std::mt19937 random(2);
  const std::map<int, std::pair<DType, DType>> types = {{2, {DType::kInt2, DType::kUint2}},
                                                        {4, {DType::kInt4, DType::kUint4}},
                                                        {8, {DType::kInt8, DType::kUint8}}};
  for (const auto& [bits, expected] : types) {
    for (const bool symmetric : {true, false}) {
      const auto q = testing::RandomMatrix(4, 32, bits, 32, symmetric, random);
      FakeSink sink;
      const auto nodes = QdqForm().Emit(Describe(q), sink);
      EXPECT_EQ(sink.tensors.at(nodes[0].input(0)).dtype(),
                symmetric ? expected.first : expected.second);
      EXPECT_EQ(sink.tensors.at(nodes[0].input(0)).shape(), (Shape{32, 4}));
    }
  }
}

TEST(Qdq, FeedsTheProductStraightAndAddsTheBias) {
  std::mt19937 random(3);
  const auto q = testing::RandomMatrix(4, 32, 4, 32, true, random);
  FakeSink sink;
  LinearToEmit linear = Describe(q);
  linear.bias = "b";
  const auto nodes = QdqForm().Emit(linear, sink);
  ASSERT_EQ(nodes.size(), 3u);
  EXPECT_THAT(nodes[1].input(), ::testing::ElementsAre("x", nodes[0].output(0)));
  EXPECT_EQ(nodes[1].op_type(), "MatMul");
  EXPECT_THAT(nodes[2].input(), ::testing::ElementsAre(nodes[1].output(0), "b"));
  EXPECT_EQ(nodes[2].output(0), "y");
}

TEST(Qdq, NeedsOpset21AndRaisesTheIrVersionButNeverLowersIt) {
  const std::vector<QuantSpec> specs = {{4, 32, true, ScaleType::kFloat32}};
  auto old_model = testing::ModelBuilder(17, 8).proto;
  QdqForm().PrepareModel(old_model, specs);
  EXPECT_EQ(old_model.ir_version(), 10);
  auto new_model = testing::ModelBuilder(24, 11).proto;
  QdqForm().PrepareModel(new_model, specs);
  EXPECT_EQ(new_model.ir_version(), 11);
  EXPECT_EQ(QdqForm().OpsetNeeded({}).first, 21);
}

TEST(Qdq, NeedsOpset25ForTwoBits) {
  const std::vector<QuantSpec> specs = {{2, 32, true, ScaleType::kFloat32}};
  auto model = testing::ModelBuilder(24, 11).proto;
  EXPECT_THROW(QdqForm().PrepareModel(model, specs), UnsupportedError);
  EXPECT_EQ(model.opset_import(0).version(), 24);
  auto newer = testing::ModelBuilder(25, 11).proto;
  EXPECT_NO_THROW(QdqForm().PrepareModel(newer, specs));
}

TEST(Qdq, RefusesTwoBitRowsThatShareAByte) {
  const auto refusal = [](int64_t n, int bits) {
    TensorFacts facts;
    facts.n = n;
    facts.k = 64;
    FormParameters parameters;
    parameters.spec.bits = bits;
    return QdqForm().Refusal(facts, parameters);
  };
  EXPECT_THAT(refusal(38, 2), ::testing::HasSubstr("multiple of 4"));
  EXPECT_EQ(refusal(40, 2), "");
  EXPECT_EQ(refusal(38, 4), "");
}

}  // namespace
}  // namespace ptq
