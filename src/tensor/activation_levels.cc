// Ranges of values, and rounding to the levels between.
#include "ptq/tensor/activation_levels.h"

#include <algorithm>
#include <cmath>

#include "ptq/base/simd.h"

namespace ptq {
namespace {

PTQ_VECTOR_CLONES void Codes(const float* x, size_t count, float scale, float zero, float top,
                             float* codes) {
  for (size_t i = 0; i < count; ++i) {
    const float code = std::nearbyint(x[i] / scale) + zero;
    const float above = code < 0.0f ? 0.0f : code;
    codes[i] = top < above ? top : above;
  }
}

PTQ_VECTOR_CLONES void Values(const float* codes, size_t count, float scale, float zero, float* x) {
  for (size_t i = 0; i < count; ++i) x[i] = (codes[i] - zero) * scale;
}

}  // namespace

ActivationLevels LevelsBetween(float lowest, float highest, int bits) {
  ActivationLevels levels;
  levels.bits = bits;
  const float top = levels.top();
  const float range = highest - lowest;
  if (range > 0 && std::isfinite(range)) levels.scale = range / top;
  levels.zero_point = int(std::nearbyint(std::clamp(-lowest / levels.scale, 0.0f, top)));
  return levels;
}

ActivationLevels LevelsOf(std::span<const float> values) {
  float lowest = 0, highest = 0;
  for (const float value : values) {
    lowest = std::min(lowest, value);
    highest = std::max(highest, value);
  }
  return LevelsBetween(lowest, highest);
}

void CodesOf(std::span<const float> values, const ActivationLevels& levels, float* codes) {
  Codes(values.data(), values.size(), levels.scale, float(levels.zero_point), levels.top(), codes);
}

void RoundToLevels(std::span<const float> values, const ActivationLevels& levels, float* rounded) {
  CodesOf(values, levels, rounded);
  Values(rounded, values.size(), levels.scale, float(levels.zero_point), rounded);
}

}  // namespace ptq
