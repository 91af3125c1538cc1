// Operators on packed codes and codebooks, and QuantizeLinear.
#include <random>

#include "support/kernel_testing.h"

namespace ptq {
namespace {

using testing::ExpectEqual;
using testing::Floats;
using testing::Int64s;
using testing::OpTest;
using testing::RandomFloats;
using testing::Values;

Tensor Bytes(Shape shape, std::initializer_list<int> values) {
  Tensor tensor(DType::kUint8, std::move(shape));
  auto to = tensor.mutable_data<uint8_t>().begin();
  for (const int value : values) *to++ = static_cast<uint8_t>(value);
  return tensor;
}

/// A tensor of a packed type from its bytes.
Tensor Packed(DType dtype, Shape shape, std::initializer_list<int> bytes) {
  Tensor tensor(dtype, std::move(shape));
  auto to = tensor.mutable_bytes().begin();
  for (const int byte : bytes) *to++ = static_cast<std::byte>(byte);
  return tensor;
}

OpTest NBits(int64_t k, int64_t n, int64_t bits, int64_t block) {
  OpTest op("MatMulNBits", 1, "com.microsoft");
  op.Int("K", k).Int("N", n).Int("bits", bits).Int("block_size", block);
  return op;
}

TEST(MatMulNBits, NibblesOfTwoWithZeroPointThreeAndScaleHalfAreMinusHalf) {
  const Tensor identity = OpTest("EyeLike", 9).Run({Tensor(DType::kFloat32, {16, 16})});
  const Tensor codes = Tensor::Filled<uint8_t>({1, 1, 8}, 0x22);
  const Tensor y =
      NBits(16, 1, 4, 16).Run({identity, codes, Floats({1, 1}, {0.5f}), Bytes({1, 1}, {3})});
  ExpectEqual(y, Tensor::Filled<float>({16, 1}, -0.5f));
}

TEST(MatMulNBits, ReadsLowBitsFirstAndDefaultsToTheMiddle) {
  const Tensor identity = OpTest("EyeLike", 9).Run({Tensor(DType::kFloat32, {16, 16})});
  for (const int64_t bits : {2, 4, 8}) {
    Tensor codes(DType::kUint8, {1, 1, 2 * bits});
    auto to = codes.mutable_data<uint8_t>();
    for (size_t i = 0; i < to.size(); ++i) to[i] = static_cast<uint8_t>(37 * i + 0xE4);
    const auto y = Values<float>(NBits(16, 1, bits, 16).Run({identity, codes, Floats({1}, {1})}));
    for (int64_t i = 0; i < 16; ++i) {
      const int byte = to[static_cast<size_t>(i * bits / 8)];
      const int code = (byte >> (i * bits % 8)) & ((1 << bits) - 1);
      EXPECT_EQ(y[static_cast<size_t>(i)], static_cast<float>(code - (1 << (bits - 1))));
    }
  }
}

TEST(MatMulNBits, RefusesWidthsAndSizesThatDoNotFit) {
  EXPECT_THROW((void)NBits(16, 1, 3, 16).Run({}), UnsupportedError);
  const Tensor x = Tensor::Filled<float>({1, 16}, 1.0f);
  const Tensor codes = Tensor::Filled<uint8_t>({1, 1, 8}, 0);
  EXPECT_THROW((void)NBits(32, 1, 4, 16).Run({x, codes, Floats({1}, {1})}), InputError);
  EXPECT_THROW((void)NBits(16, 2, 4, 16).Run({x, codes, Floats({2}, {1, 1})}), InputError);
}

TEST(QuantizeLinear, RoundsHalvesToEvenAndSaturates) {
  const Tensor x = Floats({6}, {0.5f, 1.5f, 2.5f, -0.5f, 1e6f, -1e6f});
  const Tensor y =
      OpTest("QuantizeLinear", 13).Run({x, Floats({}, {1}), Tensor::Scalar<int8_t>(1)});
  ExpectEqual(y, Tensor::From<int8_t>({6}, {1, 3, 3, 1, 127, -128}));
}

TEST(QuantizeLinear, PacksFourAndTwoBitsLowFirst) {
  const Tensor x = Floats({3}, {-8, 7, -1});
  const Tensor four =
      OpTest("QuantizeLinear", 21).Int("output_dtype", 22).Run({x, Floats({}, {1})});
  ASSERT_EQ(four.dtype(), DType::kInt4);
  EXPECT_EQ(static_cast<int>(four.bytes()[0]), 0x78);
  EXPECT_EQ(static_cast<int>(four.bytes()[1]), 0x0F);
  const Tensor two = OpTest("QuantizeLinear", 25).Int("output_dtype", 26).Run({x, Floats({}, {1})});
  ASSERT_EQ(two.dtype(), DType::kInt2);
  EXPECT_EQ(static_cast<int>(two.bytes()[0]), 0x36);
}

TEST(DequantizeLinear, ExtendsTheSignOfPackedIntegers) {
  const Tensor x = Packed(DType::kInt4, {3}, {0x78, 0x0F});
  ExpectEqual(OpTest("DequantizeLinear", 21).Run({x, Floats({}, {2})}), Floats({3}, {-16, 14, -2}));
  const Tensor y = Packed(DType::kUint2, {4}, {0xE4});
  ExpectEqual(OpTest("DequantizeLinear", 25).Run({y, Floats({}, {1})}), Floats({4}, {0, 1, 2, 3}));
}

TEST(DequantizeLinear, UsesTheScaleOfEachBlock) {
  const Tensor x = Tensor::From<uint8_t>({3, 2}, {1, 2, 3, 4, 5, 6});
  const Tensor scale = Floats({2, 2}, {1, 10, 100, 1000});
  const Tensor zero = Tensor::From<uint8_t>({2, 2}, {1, 0, 0, 1});
  ExpectEqual(
      OpTest("DequantizeLinear", 21).Int("axis", 0).Int("block_size", 2).Run({x, scale, zero}),
      Floats({3, 2}, {0, 20, 2, 40, 500, 5000}));
  EXPECT_THROW((void)OpTest("DequantizeLinear", 21).Int("axis", 0).Run({x, scale}), InputError);
}

TEST(DequantizeLinear, UndoesQuantizationWithinHalfAStep) {
  std::mt19937 random(1);
  for (const int64_t axis : {0, 1, 2}) {
    const Tensor x = RandomFloats({4, 6, 5}, random);
    const Tensor scale = Tensor::Filled<float>({x.dim(axis)}, 0.05f);
    const Tensor zero = Tensor::Filled<int8_t>({x.dim(axis)}, 3);
    const Tensor codes = OpTest("QuantizeLinear", 13).Int("axis", axis).Run({x, scale, zero});
    const Tensor back = OpTest("DequantizeLinear", 13).Int("axis", axis).Run({codes, scale, zero});
    ExpectEqual(back, x, 0.02501f);
  }
}

TEST(GatherBlockQuantized, AnswersIndicesOutsideTheTableWithZeros) {
  const Tensor data = Bytes({2, 8}, {8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7});
  const Tensor scales = Floats({2, 1}, {1, 2});
  const Tensor y = OpTest("GatherBlockQuantized", 1, "com.microsoft")
                       .Int("bits", 8)
                       .Int("block_size", 16)
                       .Run({data, Int64s({3}, {-1, 2, 0}), scales});
  const auto values = Values<float>(y);
  EXPECT_EQ(y.shape(), (Shape{3, 8}));
  EXPECT_EQ(values[1], (1 - 128) * 2);
  EXPECT_EQ(values[8], 0);
  EXPECT_EQ(values[17], 9 - 128);
}

TEST(MatMulBnb4, ReadsTheFirstElementFromTheHighHalf) {
  const Tensor x = Floats({2, 2}, {1, 0, 0, 1});
  const auto run = [&](int64_t type, int64_t transposed) {
    return OpTest("MatMulBnb4", 1, "com.microsoft")
        .Int("K", 2)
        .Int("N", 2)
        .Int("block_size", 16)
        .Int("quant_type", type)
        .Int("transB", transposed)
        .Run({x, Bytes({2}, {0xF0, 0x7F}), Floats({1}, {2})});
  };
  // NF4: code 15 is 1, 0 is -1, 7 is 0; W = [[2, -2], [0, 2]].
  ExpectEqual(run(1, 1), Floats({2, 2}, {2, 0, -2, 2}));
  ExpectEqual(run(1, 0), Floats({2, 2}, {2, -2, 0, 2}));
  // FP4: code 15 is -1/4, 7 is 1/4.
  ExpectEqual(run(0, 0), Floats({2, 2}, {-0.5f, 0, 0.5f, -0.5f}));
}

}  // namespace
}  // namespace ptq
