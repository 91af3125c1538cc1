// The rounding "nearest": takes each weight for itself, without a look at H.
#include <algorithm>

#include "group_grid.h"
#include "pieces.h"

#include "ptq/base/simd.h"

namespace ptq {

PTQ_VECTOR_CLONES void RoundGroup(const float* w, int64_t count, float scale, float zero,
                                  float highest_code, uint8_t* codes) {
  for (int64_t j = 0; j < count; ++j) {
    codes[j] = uint8_t(int(SignedCode(w[j], scale, -zero, highest_code - zero) + zero));
  }
}

Rounding MakeNearestRounding(const GramView&) {
  return [](const RowBlock& block) {
    const int64_t group = block.spec.GroupSizeFor(block.k);
    const int64_t groups = block.spec.GroupsFor(block.k);
    for (int64_t r = 0; r < block.rows; ++r) {
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t begin = g * group;
        const int64_t count = std::min(group, block.k - begin);
        const float* w = block.w + r * block.k + begin;
        uint8_t* codes = block.codes + r * block.k + begin;
        const float scale = block.scales[r * groups + g];
        RoundGroup(w, count, scale, float(block.zero_points[r * groups + g]),
                   float(block.spec.levels() - 1), codes);
      }
    }
  };
}

}  // namespace ptq
