#include <algorithm>
#include <cmath>
#include <limits>

#include "group_grid.h"
#include "pieces.h"

#include "ptq/base/half.h"
#include "ptq/base/simd.h"

namespace ptq {
namespace {

constexpr float kSmallestHalf = 0x1p-24f;
constexpr float kSmallestFloat = std::numeric_limits<float>::min();

}  // namespace

PTQ_VECTOR_CLONES GroupRange RangeOf(const float* w, int64_t count) {
  constexpr int kLanes = 16;  // independent, so that the loop can be vectorised
  float low[kLanes] = {};
  float high[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      low[lane] = std::min(low[lane], w[j + lane]);
      high[lane] = std::max(high[lane], w[j + lane]);
    }
  }
  for (; j < count; ++j) {
    low[0] = std::min(low[0], w[j]);
    high[0] = std::max(high[0], w[j]);
  }
  GroupRange range;
  range.low = *std::min_element(low, low + kLanes);
  range.high = *std::max_element(high, high + kLanes);
  range.signed_max = range.high >= -range.low ? range.high : range.low;
  return range;
}

float StorableScale(double scale, ScaleType type) {
  const bool half = type == ScaleType::kFloat16;
  const double largest = half ? kHalfMax : std::numeric_limits<float>::max();
  const float bounded = static_cast<float>(std::clamp(scale, -largest, largest));
  const float stored = half ? RoundToHalf(bounded) : bounded;
  const float smallest = half ? kSmallestHalf : kSmallestFloat;
  return std::abs(stored) < smallest ? std::copysign(smallest, stored) : stored;
}

GroupGrid GridOf(const GroupRange& range, float shrink, const QuantSpec& spec) {
  if (range.signed_max == 0) return {1.0f, static_cast<uint8_t>(spec.symmetric ? spec.mid() : 0)};
  if (spec.symmetric) {
    const double scale = double(range.signed_max) * double(shrink) / -spec.mid();
    return {StorableScale(scale, spec.scale_type), static_cast<uint8_t>(spec.mid())};
  }
  const double top = spec.levels() - 1;
  const double extent = (double(range.high) - double(range.low)) * double(shrink);
  const float scale = StorableScale(extent / top, spec.scale_type);
  const double zero = std::nearbyint(-double(range.low) * double(shrink) / double(scale));
  return {scale, static_cast<uint8_t>(std::clamp(zero, 0.0, top))};
}

Grid MakeMinmaxGrid(const SiteView&) {
  return [](const RowBlock& block) {
    const int64_t group = block.spec.GroupSizeFor(block.k);
    const int64_t groups = block.spec.GroupsFor(block.k);
    for (int64_t r = 0; r < block.rows; ++r) {
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t begin = g * group;
        const int64_t count = std::min(group, block.k - begin);
        const GroupRange range = RangeOf(block.w + r * block.k + begin, count);
        const GroupGrid grid = GridOf(range, 1.0f, block.spec);
        block.scales[r * groups + g] = grid.scale;
        block.zero_points[r * groups + g] = grid.zero_point;
      }
    }
  };
}

}  // namespace ptq
