// IEEE binary16 and bfloat16 as stored bits, and their exact conversions from and to float.
#pragma once

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

[[nodiscard]] float ToFloat(Half value);
[[nodiscard]] float ToFloat(BFloat16 value);
/// Nearest, ties to even; overflow becomes infinity.
[[nodiscard]] Half ToHalf(float value);
[[nodiscard]] BFloat16 ToBFloat16(float value);
/// `value` as the nearest binary16 would hold it.
[[nodiscard]] float RoundToHalf(float value);

/// The same for every element of an array; `to` may be `from`.
void RoundToHalf(std::span<const float> from, std::span<float> to);

/// Whole arrays; both spans have the same length.
void Convert(std::span<const Half> from, std::span<float> to);
void Convert(std::span<const BFloat16> from, std::span<float> to);
void Convert(std::span<const float> from, std::span<Half> to);
void Convert(std::span<const float> from, std::span<BFloat16> to);

}  // namespace ptq
