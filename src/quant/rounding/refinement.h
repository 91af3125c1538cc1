// What follows rounding: codes and scales improve each other.
#pragma once

#include <functional>

#include "pieces.h"

namespace ptq {

/// Coordinate descent, then `rounds` times the scales' joint optimum and descent again; the loss of
/// no row grows. Null for no rounds. The view outlives the result.
[[nodiscard]] std::function<void(const RowBlock&)> MakeRefinement(const GramView& gram, int rounds);

}  // namespace ptq
