// The grid "minmax": each group's own range.
#include <algorithm>

#include "group_grid.h"
#include "pieces.h"

namespace ptq {

Grid MakeMinmaxGrid(const GramView&) {
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
