// What stands for a constant while the original graph computes what the quantized one does.
#include "effective_weight.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace ptq {
namespace {

constexpr int64_t kRows = 6;
constexpr int64_t kCols = 4;

/// W[n, k] = (7n + k) mod 16 − 8, in groups of two with scales 1 and 2.
std::shared_ptr<const QuantizedMatrix> Codes() {
  QuantizedMatrix q({4, 2, true, ScaleType::kFloat32}, kRows, kCols);
  for (int64_t i = 0; i < kRows * kCols; ++i) {
    q.codes[size_t(i)] = uint8_t((7 * (i / kCols) + i % kCols) % 16);
  }
  for (size_t i = 0; i < q.scales.size(); ++i) q.scales[i] = i % 2 == 0 ? 1.0f : 2.0f;
  std::ranges::fill(q.zero_points, uint8_t(8));
  return std::make_shared<const QuantizedMatrix>(std::move(q));
}
float Value(int64_t n, int64_t k) { return float((7 * n + k) % 16 - 8) * (k < 2 ? 1.0f : 2.0f); }

Linear LinearOf(bool operand_is_nk, int64_t experts = 1, int gather = -1) {
  Linear linear;
  linear.n = kRows;
  linear.k = kCols;
  linear.operand_is_nk = operand_is_nk;
  linear.experts = experts;
  linear.gather = gather;
  return linear;
}

TEST(EffectiveWeight, GivesRowsAsTheRuntimeSeesThem) {
  const EffectiveWeight weight(Codes(), nullptr, LinearOf(false));
  EXPECT_EQ(weight.n(), kRows);
  EXPECT_EQ(weight.k(), kCols);
  std::vector<float> buffer;
  const float* const rows = weight.Rows(2, 5, buffer);
  for (int64_t n = 2; n < 5; ++n) {
    for (int64_t k = 0; k < kCols; ++k) EXPECT_EQ(rows[(n - 2) * kCols + k], Value(n, k));
  }
}

TEST(EffectiveWeight, DividesColumnsByTheScaleOfTheSite) {
  const auto scale =
      std::make_shared<const std::vector<float>>(std::vector{1.0f, 2.0f, 4.0f, 8.0f});
  const EffectiveWeight weight(Codes(), scale, LinearOf(false));
  std::vector<float> buffer;
  const float* const rows = weight.Rows(0, kRows, buffer);
  for (int64_t n = 0; n < kRows; ++n) {
    for (int64_t k = 0; k < kCols; ++k) {
      EXPECT_EQ(rows[n * kCols + k], Value(n, k) / (*scale)[size_t(k)]);
    }
  }
}

TEST(EffectiveWeight, HasTheLayoutOfTheConstant) {
  const Tensor rows = EffectiveWeight(Codes(), nullptr, LinearOf(true)).Whole();
  const Tensor columns = EffectiveWeight(Codes(), nullptr, LinearOf(false)).Whole();
  ASSERT_EQ(rows.shape(), (Shape{kRows, kCols}));
  ASSERT_EQ(columns.shape(), (Shape{kCols, kRows}));
  for (int64_t n = 0; n < kRows; ++n) {
    for (int64_t k = 0; k < kCols; ++k) {
      EXPECT_EQ(rows.data<float>()[size_t(n * kCols + k)], Value(n, k));
      EXPECT_EQ(columns.data<float>()[size_t(k * kRows + n)], Value(n, k));
    }
  }
}

TEST(EffectiveWeight, StacksTheExpertsOfAGatheredWeight) {
  const Tensor stack = EffectiveWeight(Codes(), nullptr, LinearOf(false, 2, 0)).Whole();
  ASSERT_EQ(stack.shape(), (Shape{2, kCols, kRows / 2}));
  for (int64_t n = 0; n < kRows; ++n) {
    for (int64_t k = 0; k < kCols; ++k) {
      const int64_t at = (n / 3 * kCols + k) * 3 + n % 3;
      EXPECT_EQ(stack.data<float>()[size_t(at)], Value(n, k));
    }
  }
}

}  // namespace
}  // namespace ptq
