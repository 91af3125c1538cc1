#include "loss.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <cblas.h>

#include "ptq/base/parallel.h"
#include "ptq/base/simd.h"

namespace ptq {
namespace {

constexpr int64_t kRowTile = 64;
/// Independent sums, so that a vector holds several.
constexpr int kLanes = 8;
/// Marks a row whose error left the range of float.
constexpr int kOverflow = std::numeric_limits<int>::max();
/// Rows within 2^±24 of the unit need no change of scale.
constexpr int kSafeExponent = 24;

/// max |d_j|; infinite or NaN when any value is. The bits of non-negative numbers order as integers
/// do, and a maximum of integers can be vectorised.
PTQ_VECTOR_CLONES float LargestMagnitude(const float* d, int64_t cols) {
  int32_t largest = 0;
  for (int64_t j = 0; j < cols; ++j) {
    largest = std::max(largest, std::bit_cast<int32_t>(d[j]) & 0x7fffffff);
  }
  return std::bit_cast<float>(largest);
}

/// Σ (2·y_j − h_j·d_j)·d_j, in double and in a fixed order.
PTQ_VECTOR_CLONES double Contract(const float* y, const float* d, const float* diagonal,
                                  int64_t cols) {
  double sums[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= cols; j += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const double dj = d[j + lane];
      sums[lane] += (2.0 * double(y[j + lane]) - double(diagonal[j + lane]) * dj) * dj;
    }
  }
  for (; j < cols; ++j) {
    const double dj = d[j];
    sums[0] += (2.0 * double(y[j]) - double(diagonal[j]) * dj) * dj;
  }
  return std::accumulate(sums, sums + kLanes, 0.0);
}

/// Σ d_j², in double and in a fixed order.
PTQ_VECTOR_CLONES double SumOfSquares(const float* d, int64_t cols) {
  double sums[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= cols; j += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane)
      sums[lane] += double(d[j + lane]) * double(d[j + lane]);
  }
  for (; j < cols; ++j) sums[0] += double(d[j]) * double(d[j]);
  return std::accumulate(sums, sums + kLanes, 0.0);
}

}  // namespace

GramView::GramView(std::span<const float> lower, int64_t k) : lower_(lower), k_(k) {
  if (lower_.empty()) return;
  float largest = 0;
  for (int64_t j = 0; j < k_; ++j) largest = std::max(largest, diagonal(j));
  if (largest > 0) half_exponent_ = std::ilogb(largest) / 2;
}

void GramView::RowLosses(float* delta, int64_t rows, int64_t begin, int64_t cols,
                         double* out) const {
  if (identity()) {
    for (int64_t r = 0; r < rows; ++r) out[r] = SumOfSquares(delta + r * cols, cols);
    return;
  }
  std::vector<int> exponents(size_t(rows), 0);
  for (int64_t r = 0; r < rows; ++r) {
    float* row = delta + r * cols;
    const float largest = LargestMagnitude(row, cols);
    if (!std::isfinite(largest)) {
      std::fill_n(row, cols, 0.0f);
      exponents[size_t(r)] = kOverflow;
      continue;
    }
    if (largest == 0) continue;
    // |Δ| would become about 1 / sqrt(max H_jj), so that Δ·H and Δ·H·Δᵀ both stay in range.
    const int exponent = std::ilogb(largest) + half_exponent_;
    if (std::abs(exponent) <= kSafeExponent) continue;
    exponents[size_t(r)] = exponent;
    // In two steps, since 2^-exponent itself may be out of range.
    const float first = std::ldexp(1.0f, -(exponent / 2));
    const float second = std::ldexp(1.0f, -(exponent - exponent / 2));
    for (int64_t j = 0; j < cols; ++j) row[j] = row[j] * first * second;
  }
  // With L the lower triangle (diagonal included), Δ H Δᵀ = 2·(Δ L)Δᵀ − Σ H_jj Δ_j²: half the work
  // of the full product, and no symmetric copy of H.
  std::vector<float> product(delta, delta + rows * cols);
  cblas_strmm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit,
              static_cast<int>(rows), static_cast<int>(cols), 1.0f,
              lower_.data() + begin * k_ + begin, static_cast<int>(k_), product.data(),
              static_cast<int>(cols));
  std::vector<float> diagonals(static_cast<size_t>(cols));
  for (int64_t j = 0; j < cols; ++j) diagonals[size_t(j)] = diagonal(begin + j);
  for (int64_t r = 0; r < rows; ++r) {
    const double form =
        Contract(product.data() + r * cols, delta + r * cols, diagonals.data(), cols);
    const int exponent = exponents[size_t(r)];
    out[r] = exponent == kOverflow ? std::numeric_limits<double>::infinity()
                                   : std::ldexp(std::max(form, 0.0), 2 * exponent);
  }
}

void GramView::RowEnergies(const float* w, int64_t rows, double* out) const {
  std::vector<float> copy(w, w + rows * k_);
  RowLosses(copy.data(), rows, 0, k_, out);
}

bool IsUsableGram(std::span<const float> lower, int64_t k) {
  std::atomic<bool> usable = true;
  ParallelForTiles(k, kRowTile, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* row = lower.data() + i * k;
      float sum = 0;  // x·0 is NaN exactly when x is NaN or infinite
      for (int64_t j = 0; j <= i; ++j) sum += row[j] * 0.0f;
      if (sum != 0.0f || !(row[i] >= 0.0f)) usable = false;
    }
  });
  return usable;
}

}  // namespace ptq
