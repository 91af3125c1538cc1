// All scales of a row together, for codes that stay.
#pragma once

#include "pieces.h"

namespace ptq {

/// For a block whose grid and codes are set: moves the scales of each row to the least-squares
/// optimum, with u what codes stand for: A s = b, A_gh = u_gᵀ H_gh u_h, b_g = u_gᵀ (H w)_g. A row
/// keeps its scales where the new ones, as they are stored, do not cost less.
void FitScales(const GramView& gram, const RowBlock& block);

}  // namespace ptq
