// The min-max grid against its plain definition, up to the limits of the types.
#include "quant_testing.h"
#include <gmock/gmock.h>

namespace ptq::testing {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

Values Dequantized(const QuantizedMatrix& q) {
  Values w(q.codes.size());
  q.Dequantize(w.data());
  return w;
}

TEST(MinmaxGrid, MapsLargestMagnitudeToMinusEight) {
  const LinearResult up = QuantizeAlone({0.5f, -1.0f, 4.0f, 1.25f}, 4, Spec(4, 4, true));
  EXPECT_THAT(up.q.scales, ElementsAre(-0.5f));
  EXPECT_THAT(up.q.zero_points, ElementsAre(8));
  EXPECT_THAT(up.q.codes, ElementsAre(7, 10, 0, 6));  // 1.25 / -0.5 = -2.5: half to even

  const LinearResult down = QuantizeAlone({0.5f, -4.0f, 3.5f, 0.25f}, 4, Spec(4, 4, true));
  EXPECT_THAT(down.q.scales, ElementsAre(0.5f));
  EXPECT_THAT(down.q.codes, ElementsAre(9, 0, 15, 8));
  EXPECT_EQ(down.loss, 0.0625);
}

TEST(MinmaxGrid, MapsLargestMagnitudeToCodeZeroAtEveryWidth) {
  for (const int bits : {2, 3, 4, 8}) {
    const LinearResult result = QuantizeAlone({0.1f, 0.9f, -0.2f}, 3, Spec(bits, 0, true));
    EXPECT_EQ(result.q.codes[1], 0) << bits;
    EXPECT_EQ(result.q.zero_points[0], 1 << (bits - 1)) << bits;
    EXPECT_EQ(result.q.scales[0], 0.9f / float(-(1 << (bits - 1)))) << bits;
  }
}

TEST(MinmaxGrid, HitsBothEndsOfAnAsymmetricRange) {
  for (const int bits : {2, 3, 4, 8}) {
    const int top = (1 << bits) - 1;
    const float low = -0.25f;
    const LinearResult result =
        QuantizeAlone({low, low + 0.125f * float(top), 0.0f}, 3, Spec(bits, 0, false));
    EXPECT_THAT(result.q.scales, ElementsAre(0.125f)) << bits;
    EXPECT_THAT(result.q.codes, ElementsAre(0, top, 2)) << bits;
    EXPECT_EQ(result.loss, 0.0) << bits;
  }
}

TEST(MinmaxGrid, IncludesZeroInAnAsymmetricRange) {
  const LinearResult positive = QuantizeAlone({14.0f, 15.0f}, 2, Spec(4, 0, false));
  EXPECT_THAT(positive.q.zero_points, ElementsAre(0));
  EXPECT_THAT(positive.q.codes, ElementsAre(14, 15));
  const LinearResult negative = QuantizeAlone({-14.0f, -15.0f}, 2, Spec(4, 0, false));
  EXPECT_THAT(negative.q.zero_points, ElementsAre(15));
  EXPECT_THAT(negative.q.codes, ElementsAre(1, 0));
}

TEST(MinmaxGrid, ReproducesARampAndAPlateau) {
  Values ramp;
  for (int i = -8; i < 8; ++i) ramp.push_back(0.03125f * float(i));
  EXPECT_EQ(Dequantized(QuantizeAlone(ramp, 16, Spec(4, 16, true)).q), ramp);
  EXPECT_EQ(Dequantized(QuantizeAlone(ramp, 16, Spec(4, 16, false)).q), ramp);
  const Values plateau(16, 0.375f);
  EXPECT_EQ(Dequantized(QuantizeAlone(plateau, 16, Spec(4, 16, true)).q), plateau);
  EXPECT_EQ(Dequantized(QuantizeAlone(plateau, 16, Spec(2, 16, false)).q), plateau);
}

TEST(MinmaxGrid, KeepsZeroGroupsZero) {
  for (const bool symmetric : {true, false}) {
    const LinearResult result =
        QuantizeAlone({0.0f, -0.0f, 1.0f, 2.0f}, 4, Spec(4, 2, symmetric, ScaleType::kFloat16));
    EXPECT_EQ(Dequantized(result.q)[0], 0.0f);
    EXPECT_EQ(Dequantized(result.q)[1], 0.0f);
    EXPECT_NE(result.q.scales[0], 0.0f);
  }
}

TEST(MinmaxGrid, RoundsTheScaleBeforeTheCodes) {
  // 0.3 / 8 is not a binary16 number; the codes must be those of the rounded scale.
  const Values w = {0.3f, 0.1f, -0.2f, 0.05f};
  const LinearResult result = QuantizeAlone(w, 4, Spec(4, 0, true, ScaleType::kFloat16));
  const float scale = RoundToHalf(-0.3f / 8);
  EXPECT_THAT(result.q.scales, ElementsAre(scale));
  for (size_t i = 0; i < w.size(); ++i) {
    EXPECT_EQ(int(result.q.codes[i]), int(std::nearbyint(w[i] / scale)) + 8);
  }
}

TEST(MinmaxGrid, KeepsScalesThatBinary16CannotHoldFiniteAndNotZero) {
  for (const bool symmetric : {true, false}) {
    const QuantSpec spec = Spec(4, 0, symmetric, ScaleType::kFloat16);
    const LinearResult tiny = QuantizeAlone({1e-30f, -1e-31f}, 2, spec);
    EXPECT_EQ(std::abs(tiny.q.scales[0]), 0x1p-24f);
    EXPECT_THAT(Dequantized(tiny.q), Each(0.0f));
    const LinearResult huge = QuantizeAlone({1e30f, -1e30f}, 2, spec);
    EXPECT_EQ(std::abs(huge.q.scales[0]), kHalfMax);
    EXPECT_TRUE(std::isfinite(huge.loss));
  }
}

TEST(MinmaxGrid, SurvivesTheLimitsOfFloat) {
  constexpr float kMax = std::numeric_limits<float>::max();
  constexpr float kDenormal = std::numeric_limits<float>::denorm_min();
  for (const int bits : {2, 4, 8}) {
    for (const bool symmetric : {true, false}) {
      const float large = kMax / 64;
      const LinearResult huge = QuantizeAlone({large, -large, 1.0f}, 3, Spec(bits, 0, symmetric));
      EXPECT_TRUE(std::isfinite(32 * huge.q.scales[0]));
      EXPECT_THROW((void)QuantizeAlone({kMax, 0.0f, 1.0f}, 3, Spec(bits, 0, symmetric)),
                   InputError);
      const LinearResult tiny =
          QuantizeAlone({kDenormal, -7 * kDenormal, 0.0f}, 3, Spec(bits, 0, symmetric));
      EXPECT_GE(std::abs(tiny.q.scales[0]), std::numeric_limits<float>::min());
      EXPECT_TRUE(std::isfinite(tiny.loss));
    }
  }
}

TEST(MinmaxGrid, EqualsThePlainDefinitionOnRandomWeights) {
  std::mt19937 random(7);
  for (const int bits : {2, 3, 4, 8}) {
    for (const bool symmetric : {true, false}) {
      for (const ScaleType type : {ScaleType::kFloat32, ScaleType::kFloat16}) {
        const QuantSpec spec = Spec(bits, 32, symmetric, type);
        const Values w = Normal(random, 70 * 90, 0.05f);
        const LinearResult result = QuantizeAlone(w, 90, spec);
        const QuantizedMatrix naive = NaiveRtn(w, 90, spec);
        EXPECT_EQ(result.q.scales, naive.scales);
        EXPECT_EQ(result.q.zero_points, naive.zero_points);
        EXPECT_EQ(result.q.codes, naive.codes);
      }
    }
  }
}

}  // namespace
}  // namespace ptq::testing
