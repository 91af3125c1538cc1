// The one place where matrix products are cut into tiles for the threads.
#pragma once

#include <cstdint>
#include <span>

namespace ptq {

/// A row-major matrix in memory: element (r, c) at data[r * stride + c].
struct MatrixView {
  const float* data;
  int64_t rows;
  int64_t cols;
  int64_t stride;
  bool transposed = false;  ///< read as its transpose; rows and cols are those of the stored matrix
};

/// C[m, n] = alpha · op(A)[m, k] · op(B)[k, n] + beta · C, all row-major, `c_stride` elements a
/// row. Tiles are fixed, so the result does not depend on the number of threads.
void Gemm(float alpha, const MatrixView& a, const MatrixView& b, float beta, float* c,
          int64_t c_stride);

/// H[k, k] += Xᵀ X for X[rows, k], lower triangle only (column index ≤ row index), row-major. X is
/// given in parts of whole rows, added in their order.
void AccumulateGram(std::span<const std::span<const float>> parts, int64_t k, float* gram);
/// C[k, k] += Aᵀ B for A and B [rows, k], in parts of the same rows.
void AccumulateCross(std::span<const std::span<const float>> a,
                     std::span<const std::span<const float>> b, int64_t k, float* cross);

}  // namespace ptq
