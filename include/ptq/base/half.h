// IEEE binary16 and bfloat16 as stored bits, and their exact conversions from and to float.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

namespace ptq {

/// Bits of an IEEE 754 binary16 number.
struct Half {
  uint16_t bits = 0;
};
/// Bits of a bfloat16 number (the upper half of a binary32).
struct BFloat16 {
  uint16_t bits = 0;
};

inline constexpr float kHalfMax = 65504.0f;
/// Smaller numbers have fewer digits.
inline constexpr float kHalfMinNormal = 0x1p-14f;

/// binary16 to binary32: the exponent and fraction, moved to their places, are 2^112 too small,
/// subnormal numbers included; infinities and NaN get the largest exponent, and a NaN is quiet.
[[nodiscard]] inline float ToFloat(Half value) {
  const uint32_t half = value.bits;
  const uint32_t magnitude = (half & 0x7fffu) << 13;
  const auto scaled = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  const uint32_t quiet = magnitude > 0x0f800000u ? 0x7fc00000u : 0x7f800000u;
  const uint32_t bits = magnitude >= 0x0f800000u ? magnitude | quiet : scaled;
  return std::bit_cast<float>(bits | (half & 0x8000u) << 16);
}
[[nodiscard]] inline float ToFloat(BFloat16 value) {
  return std::bit_cast<float>(uint32_t{value.bits} << 16);
}

/// Nearest, ties to even; overflow becomes infinity. Adding a power of two whose last bit has the
/// weight of the result's last bit makes the addition itself round. What is too large becomes
/// infinite by the first product.
[[nodiscard]] inline Half ToHalf(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const float bounded = (std::bit_cast<float>(magnitude) * 0x1p112f) * 0x1p-110f;
  const uint32_t exponent = std::max((magnitude << 1) & 0xff000000u, 0x71000000u);
  const auto rounded =
      std::bit_cast<uint32_t>(std::bit_cast<float>((exponent >> 1) + 0x07800000u) + bounded);
  const uint32_t half = ((rounded >> 13) & 0x7c00u) + (rounded & 0x0fffu);
  return Half{
      static_cast<uint16_t>((magnitude > 0x7f800000u ? 0x7e00u : half) | (bits >> 16 & 0x8000u))};
}
[[nodiscard]] BFloat16 ToBFloat16(float value);
/// `value` as the nearest binary16 would hold it.
[[nodiscard]] inline float RoundToHalf(float value) { return ToFloat(ToHalf(value)); }

/// The same for every element of an array; `to` may be `from`.
void RoundToHalf(std::span<const float> from, std::span<float> to);

/// Whole arrays; both spans have the same length.
void Convert(std::span<const Half> from, std::span<float> to);
void Convert(std::span<const BFloat16> from, std::span<float> to);
void Convert(std::span<const float> from, std::span<Half> to);
void Convert(std::span<const float> from, std::span<BFloat16> to);

}  // namespace ptq
