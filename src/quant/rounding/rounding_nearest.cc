// The rounding "nearest": takes each weight for itself, without a look at H.
#include <algorithm>

#include "grid/group_grid.h"
#include "pieces.h"

namespace ptq {

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
        const GroupGrid grid = {block.scales[r * groups + g], block.zero_points[r * groups + g]};
        RoundGroup(w, count, grid, block.spec, codes);
      }
    }
  };
}

}  // namespace ptq
