// How a reduction walks its input: which dimensions fold, and whether they lie last or in the
// middle.
#pragma once

#include <cstdint>
#include <vector>

#include "ptq/tensor/tensor.h"

namespace ptq {

/// The input of a reduction, seen with as few dimensions as possible.
struct ReduceLayout {
  enum class Pattern {
    kLast,    ///< [outer, count]: rows of `count` elements fold
    kMiddle,  ///< [outer, count, inner]: rows of `inner` elements fold onto each other
    kMixed,   ///< anything else
  };
  Pattern pattern = Pattern::kLast;
  int64_t outer = 1;
  int64_t count = 1;  ///< elements that fold into one
  int64_t inner = 1;
  Shape result;
  Shape order;  ///< of the input's axes: kept ones first, then those that fold
};

/// `axes` may be negative; with `all` every axis folds. Throws InputError for axes out of range.
[[nodiscard]] ReduceLayout LayOutReduction(const Shape& shape, const Shape& axes, bool all,
                                           bool keep_dims);

/// The input with the folding axes last: itself (shared) when they already are.
[[nodiscard]] Tensor ReducedLast(const Tensor& x, const ReduceLayout& layout);

}  // namespace ptq
