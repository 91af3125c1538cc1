// All bit patterns of the 16-bit floats against their definition, and how ties are rounded.
#include "ptq/base/half.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace ptq {
namespace {

/// The value of binary16 bits as the standard defines it; `bits` is not an infinity or NaN.
double Definition(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int fraction = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST(Half, ReadsAndWritesBackAllBitPatterns) {
  for (uint32_t i = 0; i < 65536; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const float value = ToFloat(Half{bits});
    if ((bits & 0x7c00) == 0x7c00) {
      if ((bits & 0x3ff) != 0) {
        ASSERT_TRUE(std::isnan(value)) << i;
        ASSERT_TRUE(std::isnan(ToFloat(ToHalf(value)))) << i;
        continue;
      }
      ASSERT_TRUE(std::isinf(value)) << i;
    } else {
      ASSERT_EQ(double{value}, Definition(bits)) << i;
    }
    ASSERT_EQ(ToHalf(value).bits, bits) << i;
  }
}

TEST(Half, RoundsMidpointsBetweenNeighboursToTheEvenOne) {
  for (uint32_t i = 0; i < 0x7bff; ++i) {
    const double low = Definition(static_cast<uint16_t>(i));
    const double high = Definition(static_cast<uint16_t>(i + 1));
    const auto middle = static_cast<float>((low + high) / 2);  // exact: one bit more
    ASSERT_EQ(ToHalf(middle).bits, i % 2 == 0 ? i : i + 1) << i;
    ASSERT_EQ(ToHalf(std::nextafter(middle, 0.0f)).bits, i) << i;
    ASSERT_EQ(ToHalf(std::nextafter(middle, 1e9f)).bits, i + 1) << i;
  }
}

TEST(Half, OverflowsToInfinityFromTheMidpointBehindTheLargestNumber) {
  EXPECT_EQ(RoundToHalf(65519.996f), kHalfMax);
  EXPECT_TRUE(std::isinf(RoundToHalf(65520.0f)));
  EXPECT_TRUE(std::isinf(RoundToHalf(1e30f)));
  EXPECT_EQ(RoundToHalf(-1e30f), -std::numeric_limits<float>::infinity());
  EXPECT_EQ(RoundToHalf(std::ldexp(1.0f, -26)), 0.0f);
}

TEST(Half, ConvertsWholeArraysAsSingleValues) {
  std::vector<float> values;
  for (int i = -40; i < 41; ++i) values.push_back(static_cast<float>(i) * 0.37f + 1e-4f);
  std::vector<Half> halves(values.size());
  std::vector<float> back(values.size());
  Convert(std::span<const float>(values), std::span<Half>(halves));
  Convert(std::span<const Half>(halves), std::span<float>(back));
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(halves[i].bits, ToHalf(values[i]).bits);
    EXPECT_EQ(back[i], RoundToHalf(values[i]));
  }
}

TEST(BFloat16, ReadsAndWritesBackAllBitPatterns) {
  for (uint32_t i = 0; i < 65536; ++i) {
    const float value = ToFloat(BFloat16{static_cast<uint16_t>(i)});
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(ToFloat(ToBFloat16(value)))) << i;
    } else {
      ASSERT_EQ(ToBFloat16(value).bits, i);
    }
  }
}

TEST(BFloat16, RoundsTiesToEven) {
  const float step = std::ldexp(1.0f, -7);
  EXPECT_EQ(ToFloat(ToBFloat16(1 + step / 2)), 1.0f);
  EXPECT_EQ(ToFloat(ToBFloat16(1 + 3 * step / 2)), 1 + 2 * step);
  EXPECT_EQ(ToFloat(ToBFloat16(std::nextafter(1 + step / 2, 2.0f))), 1 + step);
  EXPECT_TRUE(std::isinf(ToFloat(ToBFloat16(std::numeric_limits<float>::max()))));
}

}  // namespace
}  // namespace ptq
