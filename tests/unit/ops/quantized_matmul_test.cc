// Exact products of 8-bit codes, and the quantization of activations in front of them.
#include "support/kernel_testing.h"

namespace ptq::testing {
namespace {

template <class T>
Tensor RandomCodes(const Shape& shape, std::mt19937& random) {
  Tensor tensor(kDTypeOf<T>, shape);
  std::uniform_int_distribution<int> codes(std::numeric_limits<T>::min(),
                                           std::numeric_limits<T>::max());
  for (T& value : tensor.mutable_data<T>()) value = static_cast<T>(codes(random));
  return tensor;
}

TEST(MatMulInteger, IsExactForLongSumsOfLargeCodes) {
  // 5000 terms of 255 · 255 exceed what one float can sum.
  const Tensor a = Tensor::Filled<uint8_t>({1, 5000}, 255);
  const Tensor b = Tensor::Filled<uint8_t>({5000, 1}, 255);
  const Tensor y = OpTest("MatMulInteger", 10).Run({a, b});
  EXPECT_EQ(y.data<int32_t>()[0], 5000 * 255 * 255);
}

TEST(MatMulInteger, SubtractsZeroPointsPerTensorRowAndColumn) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const Tensor a = RandomCodes<uint8_t>({3, 40}, random);
    const Tensor b = RandomCodes<int8_t>({40, 5}, random);
    const Tensor za = RandomCodes<uint8_t>(seed % 2 == 0 ? Shape{} : Shape{3}, random);
    const Tensor zb = RandomCodes<int8_t>(seed % 3 == 0 ? Shape{} : Shape{5}, random);
    const Tensor y = OpTest("MatMulInteger", 10).Run({a, b, za, zb});
    for (size_t r = 0; r < 3; ++r) {
      for (size_t c = 0; c < 5; ++c) {
        int expected = 0;
        for (size_t k = 0; k < 40; ++k) {
          expected += (a.data<uint8_t>()[r * 40 + k] - za.data<uint8_t>()[za.rank() == 0 ? 0 : r]) *
                      (b.data<int8_t>()[k * 5 + c] - zb.data<int8_t>()[zb.rank() == 0 ? 0 : c]);
        }
        ASSERT_EQ(y.data<int32_t>()[r * 5 + c], expected);
      }
    }
  }
}

TEST(DynamicQuantizeLinear, CoversTheRangeAndZero) {
  const auto y = OpTest("DynamicQuantizeLinear", 11).Outputs(3).RunAll({Floats({3}, {-1, 0, 3})});
  EXPECT_FLOAT_EQ(y[1].data<float>()[0], 4.0f / 255.0f);
  EXPECT_EQ(y[2].data<uint8_t>()[0], 64);
  EXPECT_EQ(Values<uint8_t>(y[0]), (std::vector<uint8_t>{0, 64, 255}));
  // All positive: the range is extended to 0.
  const auto p = OpTest("DynamicQuantizeLinear", 11).Outputs(3).RunAll({Floats({2}, {2, 5.1f})});
  EXPECT_EQ(p[2].data<uint8_t>()[0], 0);
  EXPECT_EQ(Values<uint8_t>(p[0]), (std::vector<uint8_t>{100, 255}));
}

TEST(DynamicQuantizeLinear, LeavesZerosAtScaleOne) {
  const auto y = OpTest("DynamicQuantizeLinear", 11).Outputs(3).RunAll({Floats({2}, {0, 0})});
  EXPECT_EQ(y[1].data<float>()[0], 1.0f);
  EXPECT_EQ(Values<uint8_t>(y[0]), (std::vector<uint8_t>{0, 0}));
}

TEST(DynamicQuantizeMatMul, IsQuantizeMultiplyRescale) {
  std::mt19937 random(4);
  const Tensor x = RandomFloats({2, 64}, random);
  const Tensor b = RandomCodes<int8_t>({64, 3}, random);
  const Tensor scale = Floats({3}, {0.01f, 0.02f, 0.03f});
  const Tensor bias = Floats({3}, {1, 2, 3});
  const auto left = OpTest("DynamicQuantizeLinear", 11).Outputs(3).RunAll({x});
  const Tensor expected = OpTest("MatMulIntegerToFloat", 1, "com.microsoft")
                              .Run({left[0], b, left[1], scale, left[2], Tensor(), bias});
  ExpectEqual(
      OpTest("DynamicQuantizeMatMul", 1, "com.microsoft").Run({x, b, scale, Tensor(), bias}),
      expected, 1e-5f);
  // And close to the product of the unquantized activations.
  const Tensor exact = OpTest("MatMul").Run({x, b.Cast(DType::kFloat32)});
  for (size_t i = 0; i < 6; ++i) {
    const float whole =
        exact.data<float>()[i] * scale.data<float>()[i % 3] + bias.data<float>()[i % 3];
    EXPECT_NEAR(expected.data<float>()[i], whole, 1.0f);
  }
}

}  // namespace
}  // namespace ptq::testing
