// The equation of an Einsum with its labels as numbers and its ellipses written out.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "ptq/tensor/tensor.h"

namespace ptq {

/// One label per dimension. Letters keep their character code; dimensions under an ellipsis are
/// numbered from the last one, so that operands of different rank line up as in broadcasting.
using Labels = std::vector<int>;

struct EinsumEquation {
  std::vector<Labels> operands;
  Labels result;
};

/// `text` as in NumPy ("ij,jk->ik", "...i,ij", spaces ignored) for operands of these ranks.
/// Throws InputError when it is malformed or does not fit the ranks.
[[nodiscard]] EinsumEquation ParseEinsum(const std::string& text, std::span<const int64_t> ranks);

}  // namespace ptq
