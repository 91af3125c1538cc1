// Computes losses and products from H's lower triangle, with rows kept in the range of float.
#include "gram_view.h"

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

constexpr int64_t kGramRowTile = 64;
/// Independent sums, so that a vector holds several.
constexpr int kGramLanes = 8;
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

/// Of one row: Δ H Δᵀ, and the part of it that the diagonal alone makes.
struct QuadraticForm {
  double whole = 0;
  double diagonal = 0;
};

/// Σ (2·y_j − h_j·d_j)·d_j and Σ h_j·d_j², in double and in a fixed order.
PTQ_VECTOR_CLONES QuadraticForm Contract(const float* y, const float* d, const float* diagonal,
                                         int64_t cols) {
  double products[kGramLanes] = {};
  double squares[kGramLanes] = {};
  int64_t j = 0;
  for (; j + kGramLanes <= cols; j += kGramLanes) {
    for (int lane = 0; lane < kGramLanes; ++lane) {
      const double dj = d[j + lane];
      products[lane] += double(y[j + lane]) * dj;
      squares[lane] += double(diagonal[j + lane]) * dj * dj;
    }
  }
  for (; j < cols; ++j) {
    const double dj = d[j];
    products[0] += double(y[j]) * dj;
    squares[0] += double(diagonal[j]) * dj * dj;
  }
  QuadraticForm form;
  form.diagonal = std::accumulate(squares, squares + kGramLanes, 0.0);
  form.whole = 2.0 * std::accumulate(products, products + kGramLanes, 0.0) - form.diagonal;
  return form;
}

/// Σ d_j², in double and in a fixed order.
PTQ_VECTOR_CLONES double SumOfSquares(const float* d, int64_t cols) {
  double sums[kGramLanes] = {};
  int64_t j = 0;
  for (; j + kGramLanes <= cols; j += kGramLanes) {
    for (int lane = 0; lane < kGramLanes; ++lane)
      sums[lane] += double(d[j + lane]) * double(d[j + lane]);
  }
  for (; j < cols; ++j) sums[0] += double(d[j]) * double(d[j]);
  return std::accumulate(sums, sums + kGramLanes, 0.0);
}

/// Σ n_j·d_j², likewise.
PTQ_VECTOR_CLONES double WeightedSquares(const double* n, const float* d, int64_t cols) {
  double sums[kGramLanes] = {};
  int64_t j = 0;
  for (; j + kGramLanes <= cols; j += kGramLanes) {
    for (int lane = 0; lane < kGramLanes; ++lane)
      sums[lane] += n[j + lane] * double(d[j + lane]) * double(d[j + lane]);
  }
  for (; j < cols; ++j) sums[0] += n[j] * double(d[j]) * double(d[j]);
  return std::accumulate(sums, sums + kGramLanes, 0.0);
}

PTQ_VECTOR_CLONES void DivideColumns(float* values, int64_t rows, int64_t cols, const float* s) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < cols; ++j) values[r * cols + j] /= s[j];
  }
}

/// Σ a_j·b_j in single precision and a fixed order.
PTQ_VECTOR_CLONES float Dot(const float* a, const float* b, int64_t count) {
  constexpr int kFloats = 16;
  float sums[kFloats] = {};
  int64_t j = 0;
  for (; j + kFloats <= count; j += kFloats) {
    for (int lane = 0; lane < kFloats; ++lane) sums[lane] += a[j + lane] * b[j + lane];
  }
  for (; j < count; ++j) sums[0] += a[j] * b[j];
  return std::accumulate(sums, sums + kFloats, 0.0f);
}

/// Divides a row by a power of two, so that |Δ| becomes about 1 / sqrt(max H_jj) and Δ·H and Δ·H·Δᵀ
/// both stay in range. Returns its exponent; kOverflow, with zeros in the row, when that is not
/// finite.
int Normalise(float* row, int64_t cols, int half_exponent) {
  const float largest = LargestMagnitude(row, cols);
  if (!std::isfinite(largest)) {
    std::fill_n(row, cols, 0.0f);
    return kOverflow;
  }
  if (largest == 0) return 0;
  const int exponent = std::ilogb(largest) + half_exponent;
  if (std::abs(exponent) <= kSafeExponent) return 0;
  // In two steps, since 2^-exponent itself may be out of range.
  const float first = std::ldexp(1.0f, -(exponent / 2));
  const float second = std::ldexp(1.0f, -(exponent - exponent / 2));
  for (int64_t j = 0; j < cols; ++j) row[j] = row[j] * first * second;
  return exponent;
}

/// out = u S for rows u [rows, cols] and a symmetric S of which only the lower triangle is read.
void MultiplySymmetric(const float* u, int64_t rows, int64_t u_stride, const float* lower,
                       int64_t lower_stride, int64_t cols, float* out, int64_t out_stride) {
  cblas_ssymm(CblasRowMajor, CblasRight, CblasLower, int(rows), int(cols), 1.0f, lower,
              int(lower_stride), u, int(u_stride), 0.0f, out, int(out_stride));
}

}  // namespace

GramView::GramView(std::span<const float> lower, int64_t k, double shrinkage)
    : lower_(lower), k_(k), shrinkage_(lower.empty() ? 0.0 : shrinkage) {
  if (lower_.empty()) return;
  float largest = 0;
  for (int64_t j = 0; j < k_; ++j) largest = std::max(largest, diagonal(j));
  if (largest > 0) half_exponent_ = std::ilogb(largest) / 2;
}

GramView GramView::Scaled(std::span<const float> s, std::span<const double> noise) const {
  GramView view = *this;
  view.s_ = s;
  if (!identity()) view.noise_ = noise;
  return view;
}

float GramView::diagonal(int64_t j) const {
  const float own = identity() ? 1.0f : lower_[size_t(j * k_ + j)];
  const float seen = s_.empty() ? own : own / s_[size_t(j)] / s_[size_t(j)];
  return noise_.empty() ? seen : seen + float(noise_[size_t(j)]);
}

void GramView::RowLosses(float* delta, int64_t rows, int64_t begin, int64_t cols, double* losses,
                         double* raw) const {
  std::vector<double> noise(size_t(rows), 0.0);
  for (int64_t r = 0; !noise_.empty() && r < rows; ++r) {
    noise[size_t(r)] = WeightedSquares(noise_.data() + begin, delta + r * cols, cols);
  }
  if (!s_.empty()) DivideColumns(delta, rows, cols, s_.data() + begin);
  if (identity()) {
    for (int64_t r = 0; r < rows; ++r) {
      losses[r] = SumOfSquares(delta + r * cols, cols);
      if (raw != nullptr) raw[r] = losses[r];
    }
    return;
  }
  std::vector<int> exponents(size_t(rows), 0);
  for (int64_t r = 0; r < rows; ++r) {
    exponents[size_t(r)] = Normalise(delta + r * cols, cols, half_exponent_);
  }
  // With L the lower triangle (diagonal included), Δ H Δᵀ = 2·(Δ L)Δᵀ − Σ H_jj Δ_j²: half the work
  // of the full product, and no symmetric copy of H.
  std::vector<float> product(delta, delta + rows * cols);
  cblas_strmm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit,
              static_cast<int>(rows), static_cast<int>(cols), 1.0f,
              lower_.data() + begin * k_ + begin, static_cast<int>(k_), product.data(),
              static_cast<int>(cols));
  std::vector<float> diagonals(static_cast<size_t>(cols));
  for (int64_t j = 0; j < cols; ++j) {
    diagonals[size_t(j)] = lower_[size_t((begin + j) * k_ + begin + j)];
  }
  for (int64_t r = 0; r < rows; ++r) {
    const QuadraticForm form =
        Contract(product.data() + r * cols, delta + r * cols, diagonals.data(), cols);
    const int exponent = exponents[size_t(r)];
    const auto restored = [&](double value) {
      return exponent == kOverflow ? std::numeric_limits<double>::infinity()
                                   : std::ldexp(std::max(value, 0.0), 2 * exponent);
    };
    losses[r] = restored((1 - shrinkage_) * form.whole + shrinkage_ * form.diagonal);
    losses[r] += noise[size_t(r)];
    if (raw != nullptr) raw[r] = restored(form.whole) + noise[size_t(r)];
  }
}

void GramView::RowEnergies(const float* w, int64_t rows, double* out) const {
  std::vector<float> copy(w, w + rows * k_);
  std::vector<double> shrunk(static_cast<size_t>(rows));
  RowLosses(copy.data(), rows, 0, k_, shrunk.data(), out);
}

void GramView::Gradient(const float* delta, int64_t rows, int64_t begin, int64_t cols,
                        float* out) const {
  Multiply(delta, rows, {0, k_}, {begin, cols}, out);
}

void GramView::BlockGradient(const float* delta, int64_t rows, int64_t begin, int64_t cols,
                             float* out) const {
  Multiply(delta, rows, {begin, cols}, {begin, cols}, out);
}

void GramView::Multiply(const float* u, int64_t rows, Channels of_u, Channels of_out,
                        float* out) const {
  const auto [first, width] = of_u;
  const auto [begin, cols] = of_out;
  const float* const unscaled = u;
  std::vector<float> copy;
  if (!s_.empty()) {
    copy.assign(u, u + rows * width);
    DivideColumns(copy.data(), rows, width, s_.data() + first);
    u = copy.data();
  }
  if (identity()) {
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(u + r * width + begin - first, cols, out + r * cols);
    }
  } else {
    const int64_t before = begin - first;
    const int64_t after = width - before - cols;
    const float* block = lower_.data() + begin * k_ + begin;
    MultiplySymmetric(u + before, rows, width, block, k_, cols, out, cols);
    if (before > 0) {
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, int(rows), int(cols), int(before), 1.0f,
                  u, int(width), block - before, int(k_), 1.0f, out, int(cols));
    }
    if (after > 0) {
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, int(rows), int(cols), int(after), 1.0f,
                  u + before + cols, int(width), block + cols * k_, int(k_), 1.0f, out, int(cols));
    }
    for (int64_t r = 0; shrinkage_ > 0 && r < rows; ++r) {
      for (int64_t j = 0; j < cols; ++j) {
        float& value = out[r * cols + j];
        value += float(shrinkage_) * (block[j * k_ + j] * u[r * width + before + j] - value);
      }
    }
  }
  if (!s_.empty()) DivideColumns(out, rows, cols, s_.data() + begin);
  for (int64_t r = 0; !noise_.empty() && r < rows; ++r) {
    const float* own = unscaled + r * width + begin - first;
    for (int64_t j = 0; j < cols; ++j) {
      out[r * cols + j] += float(noise_[size_t(begin + j)]) * own[j];
    }
  }
}

void GramView::Block(int64_t begin, int64_t cols, float* out) const {
  for (int64_t i = 0; i < cols; ++i) {
    out[i * cols + i] = diagonal(begin + i);
    for (int64_t j = 0; j < i; ++j) {
      float value = 0;
      if (!identity()) {
        value = float(1 - shrinkage_) * lower_[size_t((begin + i) * k_ + begin + j)];
        if (!s_.empty()) value = value / s_[size_t(begin + i)] / s_[size_t(begin + j)];
      }
      out[i * cols + j] = out[j * cols + i] = value;
    }
  }
}

void GramView::GroupForms(const float* u, int64_t rows, int64_t group, float* out) const {
  const int64_t groups = (k_ + group - 1) / group;
  const float* const unscaled = u;
  std::vector<float> scaled;
  if (!s_.empty()) {
    scaled.assign(u, u + rows * k_);
    DivideColumns(scaled.data(), rows, k_, s_.data());
    u = scaled.data();
  }
  std::vector<float> product(size_t(rows * k_));  // of a group with H, up to its own channels
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t begin = g * group;
    const int64_t cols = std::min(group, k_ - begin);
    if (identity()) {
      for (int64_t r = 0; r < rows; ++r) {
        std::fill_n(product.data() + r * k_, begin, 0.0f);
        std::copy_n(u + r * k_ + begin, cols, product.data() + r * k_ + begin);
      }
    } else {
      const float* const panel = lower_.data() + begin * k_;
      MultiplySymmetric(u + begin, rows, k_, panel + begin, k_, cols, product.data() + begin, k_);
      if (begin > 0) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, int(rows), int(begin), int(cols),
                    1.0f, u + begin, int(k_), panel, int(k_), 0.0f, product.data(), int(k_));
      }
    }
    for (int64_t r = 0; r < rows; ++r) {
      float* const forms = out + (r * groups + g) * groups;
      const float* const own = u + r * k_;
      for (int64_t h = 0; h <= g; ++h) {
        const int64_t first = h * group;
        forms[h] = float(1 - shrinkage_) *
                   Dot(product.data() + r * k_ + first, own + first, std::min(group, k_ - first));
      }
      for (int64_t j = begin; shrinkage_ > 0 && j < begin + cols; ++j) {
        forms[g] += float(shrinkage_) * lower_[size_t(j * k_ + j)] * own[j] * own[j];
      }
      if (!noise_.empty()) {
        forms[g] += float(WeightedSquares(noise_.data() + begin, unscaled + r * k_ + begin, cols));
      }
    }
  }
}

void GramView::Permuted(std::span<const int64_t> order, double* out) const {
  ParallelForTiles(k_, kGramRowTile, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        const int64_t row = std::max(order[size_t(i)], order[size_t(j)]);
        const int64_t col = std::min(order[size_t(i)], order[size_t(j)]);
        double value = identity() ? double(row == col) : double(lower_[size_t(row * k_ + col)]);
        if (row != col) value *= 1 - shrinkage_;
        if (!s_.empty()) value /= double(s_[size_t(row)]) * double(s_[size_t(col)]);
        if (row == col && !noise_.empty()) value += noise_[size_t(row)];
        out[i * k_ + j] = value;
      }
    }
  });
}

bool IsUsableGram(std::span<const float> lower, int64_t k) {
  std::atomic<bool> usable = true;
  ParallelForTiles(k, kGramRowTile, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* row = lower.data() + i * k;
      float sum = 0;  // x·0 is NaN exactly when x is NaN or infinite
      for (int64_t j = 0; j <= i; ++j) sum += row[j] * 0.0f;
      if (sum != 0.0f || !(row[i] >= 0.0f)) usable = false;
    }
  });
  return usable;
}

double ShrinkageFor(int64_t k, int64_t tokens) {
  return double(k) / (double(k) + double(tokens) / 4);
}

}  // namespace ptq
