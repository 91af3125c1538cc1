// Ranges of groups, the scales that a file can hold, and the candidates of a search.
#include "group_grid.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "ptq/base/half.h"
#include "ptq/base/simd.h"

namespace ptq {
namespace {

constexpr float kSmallestHalf = 0x1p-24f;
constexpr float kSmallestFloat = std::numeric_limits<float>::min();

PTQ_VECTOR_CLONES void RoundUniformly(const float* w, int64_t count, float scale, float zero,
                                      float highest_code, uint8_t* codes) {
  for (int64_t j = 0; j < count; ++j) {
    codes[j] = uint8_t(int(SignedCode(w[j], scale, -zero, highest_code - zero) + zero));
  }
}

PTQ_VECTOR_CLONES void SignedCodes(const float* w, int64_t count, float scale, float lowest,
                                   float highest, float* codes) {
  for (int64_t j = 0; j < count; ++j) codes[j] = SignedCode(w[j], scale, lowest, highest);
}

}  // namespace

PTQ_VECTOR_CLONES GroupRange RangeOf(const float* w, int64_t count) {
  constexpr int kLanes = 16;  // independent, and written as vectors, which the compiler keeps whole
  using Lanes [[gnu::vector_size(sizeof(float) * kLanes)]] = float;
  Lanes lows = {};
  Lanes highs = {};
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    Lanes values;
    std::memcpy(&values, w + j, sizeof(values));
    lows = values < lows ? values : lows;
    highs = values > highs ? values : highs;
  }
  using Quarter [[gnu::vector_size(sizeof(float) * kLanes / 4)]] = float;
  Quarter low[4], high[4];
  std::memcpy(low, &lows, sizeof(lows));
  std::memcpy(high, &highs, sizeof(highs));
  for (int i = 1; i < 4; ++i) {
    low[0] = low[i] < low[0] ? low[i] : low[0];
    high[0] = high[i] > high[0] ? high[i] : high[0];
  }
  GroupRange range;
  range.low = std::min(std::min(low[0][0], low[0][1]), std::min(low[0][2], low[0][3]));
  range.high = std::max(std::max(high[0][0], high[0][1]), std::max(high[0][2], high[0][3]));
  for (; j < count; ++j) {
    range.low = std::min(range.low, w[j]);
    range.high = std::max(range.high, w[j]);
  }
  range.signed_max = range.high >= -range.low ? range.high : range.low;
  return range;
}

float StorableScale(double scale, ScaleType type) {
  const bool half = type == ScaleType::kFloat16;
  const double largest = half ? kHalfMax : std::numeric_limits<float>::max();
  const float bounded = static_cast<float>(std::clamp(scale, -largest, largest));
  float stored = half ? RoundToHalf(bounded) : bounded;
  // Few digits are left there: rounded down, the scale would cut off the largest weights.
  const bool shortened = half && std::abs(stored) < kHalfMinNormal;
  if (shortened && std::abs(stored) < std::abs(bounded)) {
    stored += std::copysign(kSmallestHalf, bounded);
  }
  const float smallest = half ? kSmallestHalf : kSmallestFloat;
  return std::abs(stored) < smallest ? std::copysign(smallest, stored) : stored;
}

GroupGrid GridOf(const GroupRange& range, float part, const QuantSpec& spec) {
  if (!spec.uniform()) {
    if (range.signed_max == 0) return {1.0f, 0};
    const double largest = std::abs(double(range.signed_max)) * double(part);
    return {StorableScale(largest / double(spec.codebook->largest()), spec.scale_type), 0};
  }
  if (range.signed_max == 0) return {1.0f, static_cast<uint8_t>(spec.symmetric ? spec.mid() : 0)};
  if (spec.symmetric) {
    const double scale = double(range.signed_max) * double(part) / -spec.mid();
    return {StorableScale(scale, spec.scale_type), static_cast<uint8_t>(spec.mid())};
  }
  const double top = spec.levels() - 1;
  const double extent = (double(range.high) - double(range.low)) * double(part);
  const float scale = StorableScale(extent / top, spec.scale_type);
  const double zero = std::nearbyint(-double(range.low) * double(part) / double(scale));
  return {scale, static_cast<uint8_t>(std::clamp(zero, 0.0, top))};
}

int SearchCandidates(const QuantSpec& spec) { return kSearchFactors * (spec.symmetric ? 2 : 3); }

GroupGrid SearchCandidate(const GroupRange& range, int index, const QuantSpec& spec) {
  constexpr float kLeast = 0.5f;
  constexpr float kMost = 1.2f;
  const float factor =
      kLeast + (kMost - kLeast) * float(index % kSearchFactors) / float(kSearchFactors - 1);
  GroupGrid grid = GridOf(range, factor, spec);
  const int variant = index / kSearchFactors;
  if (spec.symmetric) {
    if (variant == 1) grid.scale = -grid.scale;
  } else {
    const int zero = int(grid.zero_point) + (variant == 2 ? -1 : variant);
    grid.zero_point = uint8_t(std::clamp(zero, 0, spec.levels() - 1));
  }
  return grid;
}

void RoundGroup(const float* w, int64_t count, const GroupGrid& grid, const QuantSpec& spec,
                uint8_t* codes) {
  if (!spec.uniform()) return spec.codebook->Nearest(w, count, grid.scale, codes);
  RoundUniformly(w, count, grid.scale, float(grid.zero_point), float(spec.levels() - 1), codes);
}

void RoundToLevels(const float* w, int64_t count, const GroupGrid& grid, const QuantSpec& spec,
                   float* levels) {
  if (!spec.uniform()) return spec.codebook->NearestValues(w, count, grid.scale, levels);
  const float lowest = -float(grid.zero_point);
  SignedCodes(w, count, grid.scale, lowest, float(spec.levels() - 1) + lowest, levels);
}

}  // namespace ptq
