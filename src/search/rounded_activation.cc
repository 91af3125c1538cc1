// Divides by the channels' scale, rounds as the operators do, and multiplies again.
#include "rounded_activation.h"

#include <algorithm>
#include <cmath>

namespace ptq {
namespace {

constexpr float kTop = kActivationLevels - 1;

/// Scale from the range, zero point from the scale, both in float32: the steps and the order of
/// DynamicQuantizeLinear. The range contains 0.
StaticRounding LevelsOf(float lowest, float highest) {
  StaticRounding levels;
  const float range = highest - lowest;
  levels.scale = range > 0 && std::isfinite(range) ? range / kTop : 1.0f;
  levels.zero_point = uint8_t(std::nearbyint(std::clamp(-lowest / levels.scale, 0.0f, kTop)));
  return levels;
}

StaticRounding LevelsOf(std::span<const float> values) {
  float lowest = 0, highest = 0;
  for (const float value : values) {
    lowest = std::min(lowest, value);
    highest = std::max(highest, value);
  }
  return LevelsOf(lowest, highest);
}

}  // namespace

StaticRounding LevelsFor(std::span<const float> lowest, std::span<const float> highest,
                         std::span<const float> s) {
  float least = 0, largest = 0;
  for (size_t j = 0; j < lowest.size(); ++j) {
    const float divisor = s.empty() ? 1.0f : s[j];
    least = std::min(least, lowest[j] / divisor);
    largest = std::max(largest, highest[j] / divisor);
  }
  return LevelsOf(least, largest);
}

std::vector<float> LargestMagnitudes(std::span<const float> lowest,
                                     std::span<const float> highest) {
  std::vector<float> largest(highest.size());
  for (size_t j = 0; j < largest.size(); ++j) largest[j] = std::max(-lowest[j], highest[j]);
  return largest;
}

/// Halves to even.
void RoundedActivation::Round(std::span<float> values) const {
  const StaticRounding levels = levels_.has_value() ? *levels_ : LevelsOf(values);
  const float zero = levels.zero_point;
  for (float& value : values) {
    const float code = std::clamp(std::nearbyint(value / levels.scale) + zero, 0.0f, kTop);
    value = (code - zero) * levels.scale;
  }
}

Tensor RoundedActivation::Of(const Tensor& value) const {
  Tensor rounded(DType::kFloat32, value.shape());
  const auto to = rounded.mutable_data<float>();
  std::ranges::copy(value.data<float>(), to.begin());
  if (scale_ == nullptr) {
    Round(to);
    return rounded;
  }
  const std::vector<float>& s = *scale_;
  for (size_t i = 0; i < to.size(); ++i) to[i] /= s[i % s.size()];
  Round(to);
  for (size_t i = 0; i < to.size(); ++i) to[i] *= s[i % s.size()];
  return rounded;
}

}  // namespace ptq
