// Evenly spaced levels that activations are rounded to.
#pragma once

#include <span>

namespace ptq {

/// Levels (code − zero point) · scale for codes 0 … 2^bits − 1. One of them is 0.
struct ActivationLevels {
  float scale = 1;     ///< the distance of two
  int zero_point = 0;  ///< the code of 0
  int bits = 8;

  [[nodiscard]] float top() const { return float((1 << bits) - 1); }
  [[nodiscard]] bool operator==(const ActivationLevels& other) const = default;
};

/// Those between two values, which 0 must not lie outside of. The scale follows from the range and
/// the zero point from the scale, both in float32: the steps and the order of
/// DynamicQuantizeLinear-11. Where there is no range, or none that is finite, the scale is 1.
[[nodiscard]] ActivationLevels LevelsBetween(float lowest, float highest, int bits = 8);
/// Those of 8 bits between the least and the largest of the values, 0 among them.
[[nodiscard]] ActivationLevels LevelsOf(std::span<const float> values);

/// The codes of `values`, as QuantizeLinear gives them: halves to even, and within 0 … top.
void CodesOf(std::span<const float> values, const ActivationLevels& levels, float* codes);
/// The values of the nearest levels. `rounded` may be the values themselves.
void RoundToLevels(std::span<const float> values, const ActivationLevels& levels, float* rounded);

}  // namespace ptq
