// Calls BLAS on tiles of fixed size, for products, Gram matrices and cross moments.
#include "ptq/tensor/gemm.h"

#include <algorithm>

#include <cblas.h>

#include "ptq/base/parallel.h"

namespace ptq {
namespace {

/// Columns (or rows) of C in one tile: wide enough for the library to reach its peak on one thread.
constexpr int64_t kTile = 1024;
/// Below this many multiply-adds a product is not worth splitting.
constexpr int64_t kSmallProduct = 1 << 20;
/// Rows and columns of one tile of a Gram matrix.
constexpr int64_t kGramTile = 512;

int ToInt(int64_t value) { return static_cast<int>(value); }

/// Rows [row, row + rows) of op(matrix).
const float* RowsOf(const MatrixView& matrix, int64_t row) {
  return matrix.transposed ? matrix.data + row : matrix.data + row * matrix.stride;
}

/// Columns from `col` of op(matrix).
const float* ColsOf(const MatrixView& matrix, int64_t col) {
  return matrix.transposed ? matrix.data + col * matrix.stride : matrix.data + col;
}

CBLAS_TRANSPOSE Op(const MatrixView& matrix) {
  return matrix.transposed ? CblasTrans : CblasNoTrans;
}

}  // namespace

void Gemm(float alpha, const MatrixView& a, const MatrixView& b, float beta, float* c,
          int64_t c_stride) {
  const int64_t m = a.transposed ? a.cols : a.rows;
  const int64_t k = a.transposed ? a.rows : a.cols;
  const int64_t n = b.transposed ? b.rows : b.cols;
  if (m == 0 || n == 0) return;
  if (k == 0) {
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        float& value = c[i * c_stride + j];
        value = beta == 0 ? 0.0f : beta * value;  // what is there may not be a number
      }
    }
    return;
  }
  const auto tile = [&](int64_t row, int64_t rows, int64_t col, int64_t cols) {
    cblas_sgemm(CblasRowMajor, Op(a), Op(b), ToInt(rows), ToInt(cols), ToInt(k), alpha,
                RowsOf(a, row), ToInt(a.stride), ColsOf(b, col), ToInt(b.stride), beta,
                c + row * c_stride + col, ToInt(c_stride));
  };
  if (m * n * k <= kSmallProduct) {
    tile(0, m, 0, n);
  } else if (n >= m) {
    ParallelForTiles(n, kTile, [&](int64_t begin, int64_t end) { tile(0, m, begin, end - begin); });
  } else {
    ParallelForTiles(m, kTile, [&](int64_t begin, int64_t end) { tile(begin, end - begin, 0, n); });
  }
}

void AccumulateGram(std::span<const std::span<const float>> parts, int64_t k, float* gram) {
  const int64_t blocks = (k + kGramTile - 1) / kGramTile;
  // The tiles of the lower triangle, numbered row by row.
  ParallelFor(blocks * (blocks + 1) / 2, [&](int64_t index) {
    int64_t block_row = 0;
    while ((block_row + 1) * (block_row + 2) / 2 <= index) ++block_row;
    const int64_t block_col = index - block_row * (block_row + 1) / 2;
    const int64_t row = block_row * kGramTile;
    const int64_t col = block_col * kGramTile;
    const int64_t height = std::min(kGramTile, k - row);
    const int64_t width = std::min(kGramTile, k - col);
    float* out = gram + row * k + col;
    for (const auto& x : parts) {
      const int64_t rows = static_cast<int64_t>(x.size()) / k;
      if (rows == 0) continue;
      if (block_row == block_col) {
        cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, ToInt(height), ToInt(rows), 1.0f,
                    x.data() + row, ToInt(k), 1.0f, out, ToInt(k));
      } else {
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, ToInt(height), ToInt(width),
                    ToInt(rows), 1.0f, x.data() + row, ToInt(k), x.data() + col, ToInt(k), 1.0f,
                    out, ToInt(k));
      }
    }
  });
}

void AccumulateCross(std::span<const std::span<const float>> a,
                     std::span<const std::span<const float>> b, int64_t k, float* cross) {
  const int64_t blocks = (k + kGramTile - 1) / kGramTile;
  ParallelFor(blocks * blocks, [&](int64_t index) {
    const int64_t row = index / blocks * kGramTile;
    const int64_t col = index % blocks * kGramTile;
    for (size_t i = 0; i < a.size(); ++i) {
      const int64_t rows = static_cast<int64_t>(a[i].size()) / k;
      if (rows == 0) continue;
      cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, ToInt(std::min(kGramTile, k - row)),
                  ToInt(std::min(kGramTile, k - col)), ToInt(rows), 1.0f, a[i].data() + row,
                  ToInt(k), b[i].data() + col, ToInt(k), 1.0f, cross + row * k + col, ToInt(k));
    }
  });
}

}  // namespace ptq
