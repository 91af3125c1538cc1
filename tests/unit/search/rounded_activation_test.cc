// The rounding that a form has done to what its linears read, against the operator's kernel.
#include "rounded_activation.h"

#include <memory>
#include <random>

#include "support/kernel_testing.h"
#include <gtest/gtest.h>

namespace ptq {
namespace {

Tensor Random(std::mt19937& random, const Shape& shape, float mean) {
  std::normal_distribution<float> normal(mean);
  Tensor x(DType::kFloat32, shape);
  for (float& value : x.mutable_data<float>()) value = normal(random);
  return x;
}

/// (codes − zero point) · scale of DynamicQuantizeLinear.
std::vector<float> ByTheOperator(const Tensor& x) {
  const auto outputs = testing::OpTest("DynamicQuantizeLinear").Outputs(3).RunAll({x});
  const float scale = outputs[1].data<float>()[0];
  const float zero = outputs[2].data<uint8_t>()[0];
  std::vector<float> values;
  for (const uint8_t code : outputs[0].data<uint8_t>()) values.push_back((code - zero) * scale);
  return values;
}

TEST(RoundedActivation, GivesWhatTheOperatorGives) {
  std::mt19937 random(5);
  for (const float mean : {0.0f, 4.0f, -4.0f}) {
    const Tensor x = Random(random, {3, 5, 7}, mean);
    const Tensor rounded = RoundedActivation(nullptr).Of(x);
    EXPECT_EQ(rounded.shape(), x.shape());
    const auto values = rounded.data<float>();
    EXPECT_EQ(std::vector<float>(values.begin(), values.end()), ByTheOperator(x));
  }
}

TEST(RoundedActivation, RoundsInTheScaledCoordinates) {
  std::mt19937 random(6);
  const Tensor x = Random(random, {4, 2}, 0);
  const auto s = std::make_shared<const std::vector<float>>(std::vector<float>{0.25f, 8});
  Tensor scaled(DType::kFloat32, {4, 2});
  const auto to = scaled.mutable_data<float>();
  for (size_t i = 0; i < to.size(); ++i) to[i] = x.data<float>()[i] / (*s)[i % 2];
  const std::vector<float> expected = ByTheOperator(scaled);
  const Tensor rounded = RoundedActivation(s).Of(x);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(rounded.data<float>()[i], expected[i] * (*s)[i % 2]);
  }
}

TEST(RoundedActivation, RoundsToLevelsThatAreGivenAndCutsOffWhatIsOutside) {
  const Tensor x = Tensor::From<float>({6}, {-9, -1.1f, 0.25f, 0.75f, 1.2f, 999});
  const Tensor rounded = RoundedActivation(nullptr, ActivationLevels{0.5f, 3}).Of(x);
  const std::vector<float> expected = {-1.5f, -1, 0, 1, 1, 126};  // halves to even
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(rounded.data<float>()[i], expected[i]);
}

TEST(RoundedActivation, LeavesZerosAlone) {
  const Tensor zeros = Tensor::Filled<float>({2, 3}, 0);
  const Tensor rounded = RoundedActivation(nullptr).Of(zeros);
  for (const float value : rounded.data<float>()) EXPECT_EQ(value, 0);
}

}  // namespace
}  // namespace ptq
