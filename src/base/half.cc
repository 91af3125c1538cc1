#include "ptq/base/half.h"

#include <Eigen/Core>
#include <bit>

namespace ptq {

float ToFloat(Half value) {
  return Eigen::half_impl::half_to_float(Eigen::half_impl::raw_uint16_to_half(value.bits));
}

float ToFloat(BFloat16 value) { return std::bit_cast<float>(uint32_t{value.bits} << 16); }

Half ToHalf(float value) { return Half{Eigen::half_impl::float_to_half_rtne(value).x}; }

BFloat16 ToBFloat16(float value) {
  return BFloat16{Eigen::bfloat16_impl::float_to_bfloat16_rtne<false>(value).value};
}

float RoundToHalf(float value) { return ToFloat(ToHalf(value)); }

void Convert(std::span<const Half> from, std::span<float> to) {
  for (size_t i = 0; i < from.size(); ++i) to[i] = ToFloat(from[i]);
}

void Convert(std::span<const BFloat16> from, std::span<float> to) {
  for (size_t i = 0; i < from.size(); ++i) to[i] = ToFloat(from[i]);
}

void Convert(std::span<const float> from, std::span<Half> to) {
  for (size_t i = 0; i < from.size(); ++i) to[i] = ToHalf(from[i]);
}

void Convert(std::span<const float> from, std::span<BFloat16> to) {
  for (size_t i = 0; i < from.size(); ++i) to[i] = ToBFloat16(from[i]);
}

}  // namespace ptq
