#include <algorithm>
#include <vector>

#include "group_grid.h"
#include "pieces.h"

#include "ptq/base/simd.h"

namespace ptq {
namespace {

/// AWQ's candidates (Lin et al. 2023, §4 and the authors' code): bounds max|w|·(1 − i/20), i < 10.
constexpr int kShrinkSteps = 10;
constexpr float kShrinkStep = 1.0f / 20;

/// Round-to-nearest's error on one group, in the coordinates of the unscaled weight.
PTQ_VECTOR_CLONES void GroupError(const float* w, const float* s, int64_t count,
                                  const GroupGrid& grid, const QuantSpec& spec, float* delta) {
  const float lowest = -float(grid.zero_point);
  const float highest = float(spec.levels() - 1) + lowest;
  for (int64_t j = 0; j < count; ++j) {
    delta[j] = SignedCode(w[j], grid.scale, lowest, highest) * grid.scale - w[j];
  }
  if (s == nullptr) return;
  for (int64_t j = 0; j < count; ++j) delta[j] /= s[j];
}

/// For each (row, group), the shrunken range whose rounding error costs least on the group's own
/// block of H.
void FitClip(const SiteView& site, const RowBlock& block) {
  const int64_t group = block.spec.GroupSizeFor(block.k);
  const int64_t groups = block.spec.GroupsFor(block.k);
  std::vector<GroupRange> ranges(static_cast<size_t>(block.rows));
  std::vector<double> losses(static_cast<size_t>(block.rows));
  std::vector<double> best(static_cast<size_t>(block.rows));
  std::vector<float> delta(static_cast<size_t>(block.rows * std::min(group, block.k)));
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t begin = g * group;
    const int64_t count = std::min(group, block.k - begin);
    const float* s = site.s.empty() ? nullptr : site.s.data() + begin;
    for (int step = 0; step < kShrinkSteps; ++step) {
      const float shrink = 1.0f - float(step) * kShrinkStep;
      for (int64_t r = 0; r < block.rows; ++r) {
        const float* w = block.w + r * block.k + begin;
        if (step == 0) ranges[size_t(r)] = RangeOf(w, count);
        const GroupGrid grid = GridOf(ranges[size_t(r)], shrink, block.spec);
        GroupError(w, s, count, grid, block.spec, delta.data() + r * count);
      }
      site.gram.RowLosses(delta.data(), block.rows, begin, count, losses.data());
      for (int64_t r = 0; r < block.rows; ++r) {
        if (step > 0 && !(losses[size_t(r)] < best[size_t(r)])) continue;
        best[size_t(r)] = losses[size_t(r)];
        const GroupGrid grid = GridOf(ranges[size_t(r)], shrink, block.spec);
        block.scales[r * groups + g] = grid.scale;
        block.zero_points[r * groups + g] = grid.zero_point;
      }
    }
  }
}

}  // namespace

Grid MakeClipGrid(const SiteView& site) {
  return [&site](const RowBlock& block) { FitClip(site, block); };
}

}  // namespace ptq
