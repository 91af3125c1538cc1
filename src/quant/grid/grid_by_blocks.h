// Chooses the grid of each group by the error of rounding to it, on the group's own block of H.
#pragma once

#include <functional>

#include "group_grid.h"
#include "pieces.h"

namespace ptq {

/// For each (row, group) of a block takes that of `count` candidates which costs least; the first
/// should be the plain grid. `fit_scale` then moves its scale to the least-squares optimum for its
/// codes, where that costs less.
void FitByBlocks(const GramView& gram, const RowBlock& block, int count,
                 const std::function<GroupGrid(const GroupRange&, int)>& candidate, bool fit_scale);

}  // namespace ptq
