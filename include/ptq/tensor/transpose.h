// The transpose of a matrix in memory.
#pragma once

#include <cstdint>

namespace ptq {

/// to[cols, rows] = from[rows, cols]ᵀ, both row-major parts of larger matrices whose rows are
/// `from_stride` and `to_stride` elements apart; on this thread. The two must not overlap.
void TransposePart(const float* from, int64_t from_stride, int64_t rows, int64_t cols, float* to,
                   int64_t to_stride);
void TransposePart(const uint16_t* from, int64_t from_stride, int64_t rows, int64_t cols,
                   uint16_t* to, int64_t to_stride);
void TransposePart(const uint8_t* from, int64_t from_stride, int64_t rows, int64_t cols,
                   uint8_t* to, int64_t to_stride);

}  // namespace ptq
