// The variance of evenly spaced levels, and the norms of rows that it is multiplied with.
#include "activation_noise.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "ptq/base/parallel.h"
#include "ptq/base/simd.h"
#include "ptq/tensor/block_rounding.h"
#include "ptq/tensor/gemm.h"

namespace ptq {
namespace {

/// Rows of a weight that are multiplied together.
constexpr int64_t kMeasuredRows = 64;

/// Σ n_j·((w_j + δ_j)·s_j)², in double and in a fixed order; no s: 1.
PTQ_VECTOR_CLONES double ScaledNorm(const double* n, const float* w, const float* delta,
                                    const float* s, int64_t k) {
  constexpr int kLanes = 8;
  double sums[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= k; j += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      double value = double(w[j + lane]) + double(delta[j + lane]);
      if (s != nullptr) value *= double(s[j + lane]);
      sums[lane] += n[j + lane] * value * value;
    }
  }
  for (; j < k; ++j) {
    const double value = (double(w[j]) + double(delta[j])) * (s != nullptr ? double(s[j]) : 1.0);
    sums[0] += n[j] * value * value;
  }
  double sum = 0;
  for (const double lane : sums) sum += lane;
  return sum;
}

}  // namespace

double ActivationNoise::StepFor(std::span<const float> s) const {
  if (levels_ == 0) return 0;
  double lowest = 0, highest = 0;
  for (size_t j = 0; j < lowest_.size(); ++j) {
    const double divisor = s.empty() ? 1.0 : double(s[j]);
    lowest = std::min(lowest, double(lowest_[j]) / divisor);
    highest = std::max(highest, double(highest_[j]) / divisor);
  }
  return (highest - lowest) / (levels_ - 1);
}

std::vector<double> ActivationNoise::LossesFor(std::span<const float> s) const {
  if (none()) return {};
  if (levels_ > 0) {
    const double step = StepFor(s);
    return std::vector<double>(lowest_.size(), double(tokens_) * step * step / 12);
  }
  std::vector<double> losses(size_t(k_), 0.0);
  const std::vector<float> errors = ErrorsFor(s);
  for (auto row = errors.begin(); row != errors.end(); row += k_) {
    for (size_t j = 0; j < losses.size(); ++j) {
      losses[j] += double(row[std::ptrdiff_t(j)]) * double(row[std::ptrdiff_t(j)]);
    }
  }
  for (double& loss : losses) loss *= TokensForEach();
  return losses;
}

std::vector<float> ActivationNoise::ErrorsFor(std::span<const float> s) const {
  std::vector<float> errors(sample_.begin(), sample_.end());
  std::vector<float> exact(static_cast<size_t>(k_));
  for (size_t begin = 0; begin < errors.size(); begin += exact.size()) {
    const auto row = std::span(errors).subspan(begin, exact.size());
    for (size_t j = 0; !s.empty() && j < row.size(); ++j) row[j] /= s[j];
    std::ranges::copy(row, exact.begin());
    RoundRow(row, block_);
    for (size_t j = 0; j < row.size(); ++j) row[j] -= exact[j];
  }
  return errors;
}

void AddNoise(std::span<const double> losses, const float* w, const float* delta, int64_t rows,
              int64_t k, std::span<const float> s, double* sums) {
  if (losses.empty()) return;
  for (int64_t r = 0; r < rows; ++r) {
    sums[r] +=
        ScaledNorm(losses.data(), w + r * k, delta + r * k, s.empty() ? nullptr : s.data(), k);
  }
}

double ProductLoss(const QuantizedMatrix& q, std::span<const float> errors) {
  const int64_t k = q.k, tokens = int64_t(errors.size()) / k;
  std::vector<double> rows(size_t(q.n), 0.0);
  ParallelForTiles(q.n, kMeasuredRows, [&](int64_t begin, int64_t end) {
    const int64_t count = end - begin;
    std::vector<float> w(size_t(count * k)), outputs(size_t(tokens * count));
    q.DequantizeRows(begin, end, w.data());
    float largest = 0;  // huge weights leave the range of float in the products
    for (const float value : w) largest = std::max(largest, std::abs(value));
    for (float& value : w) value /= largest > 0 ? largest : 1.0f;
    const double unit = double(largest) * double(largest);
    Gemm(1.0f, {errors.data(), tokens, k, k}, {w.data(), count, k, k, true}, 0.0f, outputs.data(),
         count);
    for (size_t i = 0; i < outputs.size(); ++i) {
      rows[size_t(begin) + i % size_t(count)] += unit * double(outputs[i]) * double(outputs[i]);
    }
  });
  return std::accumulate(rows.begin(), rows.end(), 0.0);
}

}  // namespace ptq
