// Softmax and its kin against sums in double, before and since opset 13.
#include <cmath>
#include <limits>

#include "support/kernel_testing.h"

namespace ptq::testing {
namespace {

/// Softmax of the middle of [outer, count, inner] in double.
std::vector<double> SoftmaxReference(const Tensor& x, int64_t outer, int64_t count, int64_t inner) {
  std::vector<double> y(static_cast<size_t>(x.size()));
  const auto at = [&](int64_t o, int64_t c, int64_t i) {
    return static_cast<size_t>((o * count + c) * inner + i);
  };
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < inner; ++i) {
      double sum = 0;
      for (int64_t c = 0; c < count; ++c) sum += std::exp(double{x.data<float>()[at(o, c, i)]});
      for (int64_t c = 0; c < count; ++c) {
        y[at(o, c, i)] = std::exp(double{x.data<float>()[at(o, c, i)]}) / sum;
      }
    }
  }
  return y;
}

void ExpectNear(const Tensor& actual, const std::vector<double>& expected, double tolerance) {
  ASSERT_EQ(static_cast<size_t>(actual.size()), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(actual.data<float>()[i], expected[i], tolerance) << "element " << i;
  }
}

TEST(Softmax, NormalisesAlongOneAxisSinceOpset13) {
  std::mt19937 random(1);
  const Tensor x = RandomFloats({2, 3, 4, 5}, random);
  ExpectNear(OpTest("Softmax", 13).Run({x}), SoftmaxReference(x, 24, 5, 1), 1e-6);
  ExpectNear(OpTest("Softmax", 13).Int("axis", 1).Run({x}), SoftmaxReference(x, 2, 3, 20), 1e-6);
  ExpectNear(OpTest("Softmax", 13).Int("axis", -4).Run({x}), SoftmaxReference(x, 1, 2, 60), 1e-6);
}

TEST(Softmax, NormalisesAllTrailingAxesBeforeOpset13) {
  std::mt19937 random(2);
  const Tensor x = RandomFloats({2, 3, 4}, random);
  ExpectNear(OpTest("Softmax", 11).Run({x}), SoftmaxReference(x, 2, 12, 1), 1e-6);
  ExpectNear(OpTest("Softmax", 11).Int("axis", 0).Run({x}), SoftmaxReference(x, 1, 24, 1), 1e-6);
  ExpectNear(OpTest("Softmax", 11).Int("axis", -1).Run({x}), SoftmaxReference(x, 6, 4, 1), 1e-6);
}

TEST(Softmax, GivesMaskedPositionsExactlyNothing) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const Tensor y = OpTest("Softmax", 13).Run({Floats({4}, {1, -kInfinity, -3.4e38f, 1})});
  EXPECT_EQ(Values<float>(y), (std::vector<float>{0.5f, 0, 0, 0.5f}));
}

TEST(Softmax, SurvivesLargeAndEmptyInputs) {
  ExpectEqual(OpTest("Softmax", 13).Run({Floats({2}, {1e30f, 1e30f})}), Floats({2}, {0.5f, 0.5f}));
  EXPECT_EQ(OpTest("Softmax", 13).Run({Tensor(DType::kFloat32, {2, 0})}).shape(), (Shape{2, 0}));
  EXPECT_EQ(OpTest("Softmax", 13).Run({Tensor(DType::kFloat32, {0, 3})}).shape(), (Shape{0, 3}));
}

TEST(LogSoftmax, IsTheLogarithmOfSoftmax) {
  std::mt19937 random(3);
  const Tensor x = RandomFloats({3, 7, 2}, random);
  auto expected = SoftmaxReference(x, 3, 7, 2);
  for (double& v : expected) v = std::log(v);
  ExpectNear(OpTest("LogSoftmax", 13).Int("axis", 1).Run({x}), expected, 3e-6);
}

TEST(Hardmax, MarksTheFirstLargest) {
  ExpectEqual(OpTest("Hardmax", 13).Run({Floats({2, 3}, {1, 5, 5, 2, 0, 1})}),
              Floats({2, 3}, {0, 1, 0, 1, 0, 0}));
}

}  // namespace
}  // namespace ptq::testing
