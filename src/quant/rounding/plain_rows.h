// Round-to-nearest on the min-max grid in one pass, where nothing is known of the inputs.
#pragma once

#include "pieces.h"

namespace ptq {

/// Does for each row of an unscaled block of uniform levels what the min-max grid, rounding to
/// nearest and the loss without a Gram matrix do one after the other, while a group is in registers
/// and the nearest cache. `losses` and `energies` get ‖Δ‖² and ‖w‖²; the latter is not finite when
/// a weight is not.
void RoundPlainRows(const RowBlock& block, double* losses, double* energies);

}  // namespace ptq
