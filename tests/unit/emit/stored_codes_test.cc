// Codes of 3 bits mean the same weights when they are stored in 4.
#include "ptq/emit/stored_codes.h"

#include "emit_testing.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using testing::CodeAt;
using ::testing::ElementsAre;
using testing::FakeSink;
using testing::IntOf;

QuantizedMatrix ThreeBits(bool symmetric) {
  QuantizedMatrix q;
  q.spec = {3, 32, symmetric, ScaleType::kFloat32};
  q.n = 1;
  q.k = 8;
  q.codes = {0, 1, 2, 3, 4, 5, 6, 7};
  q.scales = {0.5f};
  q.zero_points = {static_cast<uint8_t>(symmetric ? 4 : 7)};
  return q;
}

TEST(StoredBits, AreMoreThanTheCodesHaveForThreeOnly) {
  EXPECT_EQ(StoredBits(2), 2);
  EXPECT_EQ(StoredBits(3), 4);
  EXPECT_EQ(StoredBits(4), 4);
  EXPECT_EQ(StoredBits(8), 8);
}

TEST(AsStored, MovesSymmetricCodesToTheMiddleOfFourBits) {
  const QuantizedMatrix stored = AsStored(ThreeBits(true));
  EXPECT_EQ(stored.spec.bits, 4);
  EXPECT_THAT(stored.codes, ElementsAre(4, 5, 6, 7, 8, 9, 10, 11));
  EXPECT_THAT(stored.zero_points, ElementsAre(8));
}

TEST(AsStored, LeavesAsymmetricCodesAsTheyAre) {
  const QuantizedMatrix stored = AsStored(ThreeBits(false));
  EXPECT_EQ(stored.spec.bits, 4);
  EXPECT_THAT(stored.codes, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(stored.zero_points, ElementsAre(7));
}

TEST(AsStored, MeansTheSameWeightsAtAnyNumberOfBits) {
  std::mt19937 random(1);
  for (const int bits : {2, 3, 4, 8}) {
    for (const bool symmetric : {true, false}) {
      const auto q = testing::RandomMatrix(5, 83, bits, 32, symmetric, random);
      const QuantizedMatrix stored = AsStored(q);
      for (int64_t n = 0; n < q.n; ++n) {
        for (int64_t k = 0; k < q.k; ++k) {
          ASSERT_EQ(testing::WeightOf(stored, n, k), testing::WeightOf(q, n, k)) << bits;
        }
      }
      EXPECT_EQ(stored.codes != q.codes, bits == 3 && symmetric) << bits;
    }
  }
}

/// Nodes of a stack of two experts, [2, 3, K], whose codes have 3 bits.
onnx::NodeProto Stack(const char* format, const QuantizedMatrix& q, FakeSink& sink) {
  StackToEmit stack;
  stack.name = "experts";
  stack.indices = "chosen";
  stack.output = "y";
  stack.node_name = "node";
  stack.type = DType::kFloat32;
  stack.q = &q;
  stack.experts = 2;
  return FindLinearForm(format).EmitStack(stack, sink)[0];
}

TEST(AsStored, FitsStacksOfExpertsInBothFormats) {
  std::mt19937 random(2);
  for (const bool symmetric : {true, false}) {
    const QuantizedMatrix q = testing::RandomMatrix(6, 64, 3, 32, symmetric, random);
    const QuantizedMatrix stored = AsStored(q);
    FakeSink bytes;
    const auto gather = Stack("matmulnbits", stored, bytes);
    EXPECT_EQ(IntOf(gather, "bits"), 4);
    EXPECT_EQ(bytes.tensors.at(gather.input(0)).shape(), (Shape{2, 3, 32}));
    EXPECT_EQ(gather.input(0), "experts.weight_q4");
    FakeSink integers;
    const auto dequantize = Stack("qdq", stored, integers);
    const Tensor& codes = integers.tensors.at(dequantize.input(0));
    EXPECT_EQ(codes.dtype(), symmetric ? DType::kInt4 : DType::kUint4);
    for (int64_t i = 0; i < q.n * q.k; ++i) {
      const int code = q.codes[size_t(i)];
      const auto packed = bytes.tensors.at(gather.input(0)).bytes();
      ASSERT_EQ(CodeAt(packed, 4, i), symmetric ? code + 4 : code);
      // Signed codes are counted from 0: -4 to 3, in two's complement.
      ASSERT_EQ(CodeAt(codes.bytes(), 4, i), symmetric ? (code - 4) & 15 : code);
    }
  }
}

}  // namespace
}  // namespace ptq
