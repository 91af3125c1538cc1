// The grid "search": tries many ranges by H's diagonal, and fits the scale of the best.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "group_grid.h"
#include "pieces.h"

#include "ptq/base/interrupt.h"
#include "ptq/base/simd.h"

namespace ptq {
namespace {

/// Independent sums, so that a vector holds several.
constexpr int kSearchLanes = 16;
/// Times that scale and codes follow each other.
constexpr int kSearchScaleFits = 2;

/// A group brought to unit size, so that no square leaves the range of float: w / max |w| and
/// H_jj / max H_jj, padded with zeros to whole lanes.
struct UnitGroup {
  std::vector<float> w;
  std::vector<float> h;
  float size = 0;             ///< max |w|
  std::vector<float> levels;  ///< of a codebook, to which w is rounded
};

/// What rounding to nearest costs: Σ h (scale·u − w)², and the sums that move the scale.
struct GroupSums {
  double loss = 0;
  double along = 0;   ///< Σ h w u
  double length = 0;  ///< Σ h u²
};

PTQ_VECTOR_CLONES void Accumulate(const float* w, const float* h, size_t count, float scale,
                                  float lowest, float highest, float* loss, float* along,
                                  float* length) {
  for (size_t j = 0; j < count; j += kSearchLanes) {
    for (size_t lane = 0; lane < kSearchLanes; ++lane) {
      const float u = SignedCode(w[j + lane], scale, lowest, highest);
      const float d = u * scale - w[j + lane];
      loss[lane] += h[j + lane] * d * d;
      along[lane] += h[j + lane] * w[j + lane] * u;
      length[lane] += h[j + lane] * u * u;
    }
  }
}

/// The same for levels that are found already.
PTQ_VECTOR_CLONES void AccumulateLevels(const float* w, const float* h, const float* levels,
                                        size_t count, float scale, float* loss, float* along,
                                        float* length) {
  for (size_t j = 0; j < count; j += kSearchLanes) {
    for (size_t lane = 0; lane < kSearchLanes; ++lane) {
      const float u = levels[j + lane];
      const float d = u * scale - w[j + lane];
      loss[lane] += h[j + lane] * d * d;
      along[lane] += h[j + lane] * w[j + lane] * u;
      length[lane] += h[j + lane] * u * u;
    }
  }
}

GroupSums Cost(UnitGroup& group, const GroupGrid& grid, const QuantSpec& spec) {
  std::array<float, kSearchLanes> loss = {}, along = {}, length = {};
  const float scale = grid.scale / group.size;
  const float lowest = -float(grid.zero_point);
  const size_t count = group.w.size();
  if (spec.uniform()) {
    Accumulate(group.w.data(), group.h.data(), count, scale, lowest,
               float(spec.levels() - 1) + lowest, loss.data(), along.data(), length.data());
  } else {
    group.levels.resize(count);
    spec.codebook->NearestValues(group.w.data(), int64_t(count), scale, group.levels.data());
    AccumulateLevels(group.w.data(), group.h.data(), group.levels.data(), count, scale, loss.data(),
                     along.data(), length.data());
  }
  const auto sum = [](const auto& lanes) {
    return std::accumulate(lanes.begin(), lanes.end(), 0.0);
  };
  return {sum(loss), sum(along), sum(length)};
}

GroupGrid Search(UnitGroup& group, const GroupRange& range, const QuantSpec& spec) {
  GroupGrid best = GridOf(range, 1.0f, spec);
  if (group.size == 0) return best;
  GroupSums cost = Cost(group, best, spec);
  const auto attempt = [&](const GroupGrid& grid) {
    const GroupSums own = Cost(group, grid, spec);
    if (!(own.loss < cost.loss)) return;
    best = grid;
    cost = own;
  };
  for (int index = 0; index < SearchCandidates(spec); ++index) {
    attempt(SearchCandidate(range, index, spec));
  }
  for (int fit = 0; fit < kSearchScaleFits; ++fit) {
    const double scale = cost.along / cost.length * double(group.size);
    if (!std::isfinite(scale) || scale == 0) break;
    attempt({StorableScale(scale, spec.scale_type), best.zero_point});
  }
  return best;
}

}  // namespace

/// As llama.cpp's k-quants search a block's scale: weights H_jj, then weighted least squares.
Grid MakeSearchGrid(const GramView& gram) {
  return [&gram](const RowBlock& block) {
    const int64_t group = block.spec.GroupSizeFor(block.k);
    const int64_t groups = block.spec.GroupsFor(block.k);
    UnitGroup unit;
    for (int64_t g = 0; g < groups; ++g) {
      CheckInterrupt();
      const int64_t begin = g * group;
      const int64_t count = std::min(group, block.k - begin);
      const auto padded = size_t((count + kSearchLanes - 1) / kSearchLanes * kSearchLanes);
      unit.w.assign(padded, 0.0f);
      unit.h.assign(padded, 0.0f);
      float largest = 0;
      for (int64_t j = 0; j < count; ++j) largest = std::max(largest, gram.diagonal(begin + j));
      for (int64_t j = 0; j < count; ++j) {
        unit.h[size_t(j)] = largest > 0 ? gram.diagonal(begin + j) / largest : 1.0f;
      }
      for (int64_t r = 0; r < block.rows; ++r) {
        const float* w = block.w + r * block.k + begin;
        const GroupRange range = RangeOf(w, count);
        unit.size = std::abs(range.signed_max);
        for (int64_t j = 0; j < count; ++j) unit.w[size_t(j)] = w[j] / unit.size;
        const GroupGrid grid = Search(unit, range, block.spec);
        block.scales[r * groups + g] = grid.scale;
        block.zero_points[r * groups + g] = grid.zero_point;
      }
    }
  };
}

}  // namespace ptq
