#include "ptq/tensor/transpose.h"

#include <algorithm>

#include "ptq/base/parallel.h"
#include "ptq/base/simd.h"

namespace ptq {
namespace {

/// A square block of source and result stays in the nearest cache; a line of it is whole.
constexpr int64_t kBlock = 32;
/// Rows of the result that one task writes.
constexpr int64_t kRowTile = 64;

PTQ_VECTOR_CLONES void TransposeBlock(const float* from, int64_t from_stride, int64_t rows,
                                      int64_t cols, float* to, int64_t to_stride) {
  for (int64_t c = 0; c < cols; ++c) {
    for (int64_t r = 0; r < rows; ++r) to[c * to_stride + r] = from[r * from_stride + c];
  }
}

}  // namespace

void TransposeMatrix(const float* from, int64_t rows, int64_t cols, float* to) {
  ParallelForTiles(cols, kRowTile, [&](int64_t begin, int64_t end) {
    for (int64_t row = 0; row < rows; row += kBlock) {
      const int64_t height = std::min(kBlock, rows - row);
      for (int64_t col = begin; col < end; col += kBlock) {
        TransposeBlock(from + row * cols + col, cols, height, std::min(kBlock, end - col),
                       to + col * rows + row, rows);
      }
    }
  });
}

}  // namespace ptq
