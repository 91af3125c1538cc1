#include "ptq/base/half.h"

#include <Eigen/Core>
#include <algorithm>
#include <bit>

#include "ptq/base/simd.h"

namespace ptq {

namespace {

/// binary16 to binary32: the exponent and fraction, moved to their places, are 2^112 too small,
/// subnormal numbers included; infinities and NaN get the largest exponent.
inline float Widen(uint32_t half) {
  const uint32_t magnitude = (half & 0x7fffu) << 13;
  const auto scaled = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  const uint32_t bits = magnitude >= 0x0f800000u ? magnitude | 0x7f800000u : scaled;
  return std::bit_cast<float>(bits | (half & 0x8000u) << 16);
}

/// binary32 to binary16, to nearest, ties to even. Adding a power of two whose last bit has the
/// weight of the result's last bit makes the addition itself round. What is too large becomes
/// infinite by the first product.
inline uint32_t Narrow(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const float bounded = (std::bit_cast<float>(magnitude) * 0x1p112f) * 0x1p-110f;
  const uint32_t exponent = std::max((magnitude << 1) & 0xff000000u, 0x71000000u);
  const auto rounded =
      std::bit_cast<uint32_t>(std::bit_cast<float>((exponent >> 1) + 0x07800000u) + bounded);
  const uint32_t half = ((rounded >> 13) & 0x7c00u) + (rounded & 0x0fffu);
  return (magnitude > 0x7f800000u ? 0x7e00u : half) | (bits >> 16 & 0x8000u);
}

PTQ_VECTOR_CLONES void WidenAll(const Half* from, float* to, size_t count) {
  for (size_t i = 0; i < count; ++i) to[i] = Widen(from[i].bits);
}

PTQ_VECTOR_CLONES void NarrowAll(const float* from, Half* to, size_t count) {
  for (size_t i = 0; i < count; ++i) to[i].bits = static_cast<uint16_t>(Narrow(from[i]));
}

PTQ_VECTOR_CLONES void RoundAll(const float* from, float* to, size_t count) {
  for (size_t i = 0; i < count; ++i) to[i] = Widen(Narrow(from[i]));
}

}  // namespace

float ToFloat(Half value) { return Widen(value.bits); }

float ToFloat(BFloat16 value) { return std::bit_cast<float>(uint32_t{value.bits} << 16); }

Half ToHalf(float value) { return Half{static_cast<uint16_t>(Narrow(value))}; }

BFloat16 ToBFloat16(float value) {
  return BFloat16{Eigen::bfloat16_impl::float_to_bfloat16_rtne<false>(value).value};
}

float RoundToHalf(float value) { return ToFloat(ToHalf(value)); }

void RoundToHalf(std::span<const float> from, std::span<float> to) {
  RoundAll(from.data(), to.data(), to.size());
}

void Convert(std::span<const Half> from, std::span<float> to) {
  WidenAll(from.data(), to.data(), from.size());
}

void Convert(std::span<const BFloat16> from, std::span<float> to) {
  for (size_t i = 0; i < from.size(); ++i) to[i] = ToFloat(from[i]);
}

void Convert(std::span<const float> from, std::span<Half> to) {
  NarrowAll(from.data(), to.data(), from.size());
}

void Convert(std::span<const float> from, std::span<BFloat16> to) {
  for (size_t i = 0; i < from.size(); ++i) to[i] = ToBFloat16(from[i]);
}

}  // namespace ptq
