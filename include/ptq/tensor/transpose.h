// The transpose of a matrix in memory.
#pragma once

#include <cstdint>

namespace ptq {

/// to[cols, rows] = from[rows, cols]ᵀ, both row-major, on all threads. The two must not overlap.
void TransposeMatrix(const float* from, int64_t rows, int64_t cols, float* to);

}  // namespace ptq
