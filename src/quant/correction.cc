// Solves the ridge regression of the original outputs on the inputs that a layer will see.
#include "correction.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "rounding/cholesky.h"
#include <cblas.h>

#include "ptq/base/parallel.h"

namespace ptq {
namespace {

/// λ as a part of the mean of H's diagonal, and what is used below kManyTokens for each channel.
/// Measured on TinyStories-656K: 1e-4 to 0.1 are equal with many tokens, 1 costs 8 % of the KL
/// divergence there and gains as much with few.
constexpr double kRidge = 0.1;
constexpr double kStrongRidge = 1.0;
constexpr int64_t kManyTokens = 20;
/// Rows that one task corrects.
constexpr int64_t kCorrectionRowTile = 128;

}  // namespace

Correction::Correction(std::span<const float> gram, std::span<const float> cross, int64_t k,
                       int64_t tokens)
    : cross_(cross), k_(k), factor_(size_t(k * k)) {
  double mean = 0;
  for (int64_t j = 0; j < k; ++j) mean += double(gram[size_t(j * k + j)]) / double(k);
  ridge_ = (tokens < kManyTokens * k ? kStrongRidge : kRidge) * mean;
  ParallelForTiles(k, kCorrectionRowTile, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t j = 0; j <= i; ++j) factor_[size_t(i * k + j)] = double(gram[size_t(i * k + j)]);
      factor_[size_t(i * k + i)] += ridge_;
    }
  });
  if (!(ridge_ > 0) || !Cholesky(factor_.data(), k)) factor_.clear();
}

std::vector<float> Correction::Apply(const MatrixRows& w) const {
  std::vector<float> corrected(size_t(w.rows() * k_));
  ParallelForTiles(w.rows(), kCorrectionRowTile, [&](int64_t begin, int64_t end) {
    const auto rows = int(end - begin);
    const auto k = int(k_);
    std::vector<float> buffer;
    const float* from = w.Get(begin, end, buffer);
    float* to = corrected.data() + begin * k_;
    std::copy_n(from, rows * k_, to);
    if (factor_.empty()) return;
    std::vector<float> wanted(size_t(rows * k_));
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, k, k, 1.0f, from, k, cross_.data(),
                k, 0.0f, wanted.data(), k);
    std::vector<double> step(wanted.begin(), wanted.end());
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, rows, k, 1.0,
                factor_.data(), k, step.data(), k);
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit, rows, k, 1.0,
                factor_.data(), k, step.data(), k);
    if (!std::ranges::all_of(step, [](double value) { return std::isfinite(value); })) return;
    for (int64_t i = 0; i < rows * k_; ++i) to[i] = float(double(to[i]) + step[size_t(i)]);
  });
  return corrected;
}

double Correction::Gain(const GramView& gram, const MatrixRows& w,
                        std::span<const float> corrected) const {
  std::vector<double> gains(static_cast<size_t>(w.rows()));
  ParallelForTiles(w.rows(), kCorrectionRowTile, [&](int64_t begin, int64_t end) {
    const int64_t rows = end - begin;
    std::vector<float> buffer;
    const float* from = w.Get(begin, end, buffer);
    std::vector<float> difference(size_t(rows * k_));
    for (int64_t i = 0; i < rows * k_; ++i) {
      difference[size_t(i)] = corrected[size_t(begin * k_ + i)] - from[i];
    }
    gram.RowEnergies(difference.data(), rows, gains.data() + begin);
    for (int64_t i = 0; i < rows * k_; ++i) {
      gains[size_t(begin + i / k_)] +=
          2 * ridge_ * double(difference[size_t(i)]) * double(difference[size_t(i)]);
    }
  });
  return std::accumulate(gains.begin(), gains.end(), 0.0);
}

}  // namespace ptq
