// The weights that a MatMulNBits node means, read as the operator's definition says.
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

const LinearForm& Format() { return FindLinearForm("matmulnbits"); }

/// The weight [n, k] that a MatMulNBits node means, read as the operator's definition says.
float WeightInNode(const onnx::NodeProto& node, FakeSink& sink, int64_t n, int64_t k) {
  const int bits = int(IntOf(node, "bits"));
  const int64_t block_size = IntOf(node, "block_size");
  const int64_t blocks = (IntOf(node, "K") + block_size - 1) / block_size;
  const int64_t blob = block_size * bits / 8;
  const int64_t block = k / block_size;
  const auto codes = sink.tensors.at(node.input(1)).bytes();
  const int code = CodeAt(codes.subspan(size_t((n * blocks + block) * blob)), bits, k % block_size);
  int zero_point = 1 << (bits - 1);
  if (node.input_size() > 3 && !node.input(3).empty()) {
    const int64_t row_bytes = (blocks * bits + 7) / 8;
    const auto packed = sink.tensors.at(node.input(3)).bytes();
    zero_point = CodeAt(packed.subspan(size_t(n * row_bytes)), bits, block);
  }
  const Tensor scales = sink.tensors.at(node.input(2)).ToFloat32();
  return float(code - zero_point) * scales.data<float>()[size_t(n * blocks + block)];
}

TEST(MatMulNBits, PacksTheKnownVector) {
  // All nibbles 2, zero point 3, scale 0.5: every weight is -0.5.
  QuantizedMatrix q;
  q.spec = {4, 16, false, ScaleType::kFloat32};
  q.n = 1;
  q.k = 16;
  q.codes.assign(16, 2);
  q.scales = {0.5f};
  q.zero_points = {3};
  FakeSink sink;
  const auto nodes = Format().Emit(Describe(q), sink);
  ASSERT_EQ(nodes.size(), 1u);
  const Tensor& codes = sink.tensors.at(nodes[0].input(1));
  EXPECT_EQ(codes.shape(), (Shape{1, 1, 8}));
  for (const std::byte b : codes.bytes()) EXPECT_EQ(b, std::byte{0x22});
  EXPECT_EQ(sink.tensors.at(nodes[0].input(3)).bytes()[0], std::byte{3});
  EXPECT_FLOAT_EQ(WeightInNode(nodes[0], sink, 0, 7), -0.5f);
}

TEST(MatMulNBits, MeansTheSameWeightsForAnyShapeAndSpec) {
  std::mt19937 random(2);
  for (const int bits : {2, 4, 8}) {
    for (const int64_t group : {16, 32, 64, 128, 256, 0}) {
      for (const bool symmetric : {true, false}) {
        for (const auto& [n, k] : {std::pair{5, 83}, {3, 256}, {1, 7}, {4, 300}}) {
          const auto q = testing::RandomMatrix(n, k, bits, group, symmetric, random);
          FakeSink sink;
          const auto nodes = Format().Emit(Describe(q), sink);
          ASSERT_EQ(nodes.size(), 1u);
          EXPECT_EQ(IntOf(nodes[0], "K"), k);
          EXPECT_EQ(IntOf(nodes[0], "N"), n);
          for (int64_t row = 0; row < n; ++row) {
            for (int64_t column = 0; column < k; ++column) {
              ASSERT_EQ(WeightInNode(nodes[0], sink, row, column),
                        testing::WeightOf(q, row, column))
                  << bits << " bits, group " << group << ", row " << row << ", column " << column;
            }
          }
        }
      }
    }
  }
}

TEST(MatMulNBits, PadsTheLastBlockWithItsZeroPoint) {
  std::mt19937 random(3);
  const auto q = testing::RandomMatrix(2, 20, 4, 16, false, random);
  FakeSink sink;
  const auto nodes = Format().Emit(Describe(q), sink);
  const auto codes = sink.tensors.at(nodes[0].input(1)).bytes();
  for (int64_t row = 0; row < 2; ++row) {
    for (int64_t i = 4; i < 16; ++i) {
      EXPECT_EQ(CodeAt(codes.subspan(size_t((row * 2 + 1) * 8)), 4, i),
                q.zero_points[size_t(row * 2 + 1)]);
    }
  }
}

TEST(MatMulNBits, RepeatsTheRowsScaleForChannelGroups) {
  std::mt19937 random(4);
  const auto q = testing::RandomMatrix(3, 300, 4, 0, false, random);
  FakeSink sink;
  const auto nodes = Format().Emit(Describe(q), sink);
  EXPECT_EQ(IntOf(nodes[0], "block_size"), 128);
  const Tensor& scales = sink.tensors.at(nodes[0].input(2));
  EXPECT_EQ(scales.shape(), (Shape{3, 3}));
  for (size_t i = 0; i < 9; ++i) EXPECT_EQ(scales.data<float>()[i], q.scales[i / 3]);
}

TEST(MatMulNBits, DoesNotPadShortRowsToALongBlock) {
  std::mt19937 random(4);
  const auto q = testing::RandomMatrix(1, 40, 4, 0, true, random);
  FakeSink sink;
  EXPECT_EQ(IntOf(Format().Emit(Describe(q), sink)[0], "block_size"), 64);
}

TEST(MatMulNBits, OmitsSymmetricZeroPointsAndPlacesTheBiasSixth) {
  std::mt19937 random(5);
  const auto q = testing::RandomMatrix(4, 32, 8, 32, true, random);
  FakeSink sink;
  LinearToEmit linear = Describe(q);
  linear.bias = "b";
  linear.accuracy_level = 0;
  const auto node = Format().Emit(linear, sink)[0];
  EXPECT_EQ(node.domain(), "com.microsoft");
  EXPECT_EQ(node.name(), "node");
  EXPECT_THAT(node.input(),
              ::testing::ElementsAre("x", "layer.weight_q8", "layer.weight_scales", "", "", "b"));
  EXPECT_THAT(node.output(), ::testing::ElementsAre("y"));
  EXPECT_EQ(IntOf(node, "accuracy_level"), 0) << "written even when it is the default";
}

TEST(MatMulNBits, StoresScalesInTheTypeOfTheActivations) {
  std::mt19937 random(6);
  const auto q = testing::RandomMatrix(4, 32, 4, 32, true, random);
  FakeSink sink;
  const auto node = Format().Emit(Describe(q, DType::kFloat16), sink)[0];
  EXPECT_EQ(sink.tensors.at(node.input(2)).dtype(), DType::kFloat16);
}

TEST(MatMulNBits, ComputesBFloat16LinearsInFloat32BetweenCasts) {
  std::mt19937 random(7);
  const auto q = testing::RandomMatrix(4, 32, 4, 32, true, random);
  FakeSink sink;
  LinearToEmit linear = Describe(q, DType::kBFloat16);
  linear.bias = "b";
  const auto nodes = Format().Emit(linear, sink);
  ASSERT_EQ(nodes.size(), 4u);
  EXPECT_EQ(nodes[0].input(0), "x");
  EXPECT_EQ(nodes[2].op_type(), "MatMulNBits");
  EXPECT_EQ(nodes[2].input(0), nodes[0].output(0));
  EXPECT_EQ(nodes[2].input(5), nodes[1].output(0));
  EXPECT_EQ(nodes[3].input(0), nodes[2].output(0));
  EXPECT_EQ(nodes[3].output(0), "y");
  EXPECT_EQ(IntOf(nodes[3], "to"), int64_t(onnx::TensorProto::BFLOAT16));
  EXPECT_EQ(sink.tensors.at(nodes[2].input(2)).dtype(), DType::kFloat32);
}

TEST(MatMulNBits, RefusesWhatTheRuntimeCannotHold) {
  for (const int64_t group : {8, 24, 512, 1024}) {
    EXPECT_THROW(Format().CheckSpec({4, group, true, ScaleType::kFloat32}), UsageError) << group;
  }
  for (const int bits : {1, 3, 5, 6, 7, 16}) {
    EXPECT_THROW(Format().CheckSpec({bits, 32, true, ScaleType::kFloat32}), UsageError) << bits;
  }
  EXPECT_NO_THROW(Format().CheckSpec({2, 0, false, ScaleType::kFloat16}));
}

TEST(MatMulNBits, RefusesScalesThatOverflowTheirType) {
  std::mt19937 random(8);
  auto q = testing::RandomMatrix(1, 32, 4, 32, true, random);
  q.scales[0] = 1e6f;
  FakeSink sink;
  EXPECT_THROW((void)Format().Emit(Describe(q, DType::kFloat16), sink), UnsupportedError);
}

TEST(MatMulNBits, ImportsItsDomainAndLeavesTheOpsetAlone) {
  auto proto = testing::ModelBuilder(11, 6).proto;
  Format().PrepareModel(proto, {});
  Format().PrepareModel(proto, {});
  ASSERT_EQ(proto.opset_import_size(), 2);
  EXPECT_EQ(proto.opset_import(0).version(), 11);
  EXPECT_EQ(proto.opset_import(1).domain(), "com.microsoft");
  EXPECT_EQ(proto.opset_import(1).version(), 1);
  EXPECT_EQ(proto.ir_version(), 6);
}

TEST(FindLinearForm, NamesTheKnownFormatsInItsError) {
  try {
    (void)FindLinearForm("gguf");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("matmulnbits, qdq"));
  }
}

}  // namespace
}  // namespace ptq
