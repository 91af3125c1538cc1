// The grid of one group: how a range of weights becomes a scale and a zero point.
#pragma once

#include <cstdint>

#include "ptq/quant/spec.h"

namespace ptq {

/// The extremes of a group's weights.
struct GroupRange {
  float low = 0;     ///< min(0, smallest weight)
  float high = 0;    ///< max(0, largest weight)
  float signed_max;  ///< the weight of largest magnitude, with its sign
};

struct GroupGrid {
  float scale = 1;
  uint8_t zero_point = 0;
};

[[nodiscard]] GroupRange RangeOf(const float* w, int64_t count);

/// `scale` rounded to the type it is stored in, kept finite and, so that codes exist, away from
/// zero; its sign is kept.
[[nodiscard]] float StorableScale(double scale, ScaleType type);

/// The grid that covers `part` of the range; more than 1 makes it coarser than need be. Symmetric:
/// the weight of largest magnitude maps to code 0, that is −2^(bits−1), so the scale has the
/// opposite sign. Asymmetric: both ends are codes, and zero is exactly representable. Of a
/// codebook: that weight's magnitude maps to the codebook's largest.
[[nodiscard]] GroupGrid GridOf(const GroupRange& range, float part, const QuantSpec& spec);

/// Grids around the one that covers a range: its scale times 12 factors of [0.5, 1.2], with both
/// signs when symmetric, with the zero point and its two neighbours when not.
inline constexpr int kSearchFactors = 12;
[[nodiscard]] int SearchCandidates(const QuantSpec& spec);
/// Candidate `index` of SearchCandidates; the same index for a similar grid in every group.
[[nodiscard]] GroupGrid SearchCandidate(const GroupRange& range, int index, const QuantSpec& spec);

/// The codes of a group by rounding to nearest.
void RoundGroup(const float* w, int64_t count, const GroupGrid& grid, const QuantSpec& spec,
                uint8_t* codes);
/// The levels of these codes, in units of the scale.
void RoundToLevels(const float* w, int64_t count, const GroupGrid& grid, const QuantSpec& spec,
                   float* levels);

/// 1.5·2^23. Adding it leaves no bits for a fraction, so the addition itself rounds half to even.
inline constexpr float kRoundToInteger = 12582912.0f;

/// The code nearest to w (ties to even) minus the zero point: an integer in [lowest, highest].
[[nodiscard]] inline float SignedCode(float w, float scale, float lowest, float highest) {
  float q = w / scale;
  q = q > lowest ? q : lowest;
  q = q < highest ? q : highest;
  return (q + kRoundToInteger) - kRoundToInteger;
}

/// A weight's nearest level, in units of the scale, and its code.
struct RoundedWeight {
  float level;
  uint8_t code;
};
[[nodiscard]] inline RoundedWeight RoundWeight(float w, float scale, uint8_t zero_point,
                                               const QuantSpec& spec) {
  if (spec.uniform()) {
    const auto zero = float(zero_point);
    const float level = SignedCode(w, scale, -zero, float(spec.levels() - 1) - zero);
    return {level, uint8_t(int(level + zero))};
  }
  const uint8_t code = spec.codebook->Nearest(w / scale);
  return {spec.codebook->value(code), code};
}

}  // namespace ptq
