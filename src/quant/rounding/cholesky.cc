// Factorises panel by panel; tiles behind a panel are updated in parallel.
#include "cholesky.h"

#include <Eigen/Cholesky>
#include <algorithm>

#include <cblas.h>

#include "ptq/base/parallel.h"

namespace ptq {
namespace {

/// Columns that are factorised together, and rows of a tile behind them.
constexpr int64_t kPanel = 192;

using RowMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using BlockOf = Eigen::Map<RowMatrix, 0, Eigen::OuterStride<>>;

}  // namespace

bool Cholesky(double* a, int64_t k) {
  const auto at = [&](int64_t row, int64_t col) { return a + row * k + col; };
  for (int64_t begin = 0; begin < k; begin += kPanel) {
    const int64_t width = std::min(kPanel, k - begin);
    const int64_t end = begin + width;
    BlockOf corner(at(begin, begin), width, width, Eigen::OuterStride<>(k));
    const Eigen::LLT<Eigen::Ref<RowMatrix, 0, Eigen::OuterStride<>>> factor(corner);
    // A NaN passes as a pivot.
    if (factor.info() != Eigen::Success || !corner.diagonal().allFinite()) return false;
    ParallelForTiles(k - end, kPanel, [&](int64_t first, int64_t last) {
      cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit,
                  int(last - first), int(width), 1.0, at(begin, begin), int(k),
                  at(end + first, begin), int(k));
    });
    // What is behind the panel loses its part, tile by tile of the lower triangle.
    const int64_t tiles = (k - end + kPanel - 1) / kPanel;
    ParallelFor(tiles * (tiles + 1) / 2, [&](int64_t index) {
      int64_t tile_row = 0;
      while ((tile_row + 1) * (tile_row + 2) / 2 <= index) ++tile_row;
      const int64_t row = end + tile_row * kPanel;
      const int64_t col = end + (index - tile_row * (tile_row + 1) / 2) * kPanel;
      cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, int(std::min(kPanel, k - row)),
                  int(std::min(kPanel, k - col)), int(width), -1.0, at(row, begin), int(k),
                  at(col, begin), int(k), 1.0, at(row, col), int(k));
    });
  }
  return true;
}

}  // namespace ptq
