// The variance of evenly spaced levels, and the norms of rows that it is multiplied with.
#include "activation_noise.h"

#include <algorithm>

#include "ptq/base/simd.h"

namespace ptq {
namespace {

/// Σ ((w_j + δ_j)·s_j)², in double and in a fixed order; no s: 1.
PTQ_VECTOR_CLONES double ScaledNorm(const float* w, const float* delta, const float* s, int64_t k) {
  constexpr int kLanes = 8;
  double sums[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= k; j += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      double value = double(w[j + lane]) + double(delta[j + lane]);
      if (s != nullptr) value *= double(s[j + lane]);
      sums[lane] += value * value;
    }
  }
  for (; j < k; ++j) {
    const double value = (double(w[j]) + double(delta[j])) * (s != nullptr ? double(s[j]) : 1.0);
    sums[0] += value * value;
  }
  double sum = 0;
  for (const double lane : sums) sum += lane;
  return sum;
}

}  // namespace

double ActivationNoise::StepFor(std::span<const float> s) const {
  if (none()) return 0;
  double lowest = 0, highest = 0;
  for (size_t j = 0; j < lowest_.size(); ++j) {
    const double divisor = s.empty() ? 1.0 : double(s[j]);
    lowest = std::min(lowest, double(lowest_[j]) / divisor);
    highest = std::max(highest, double(highest_[j]) / divisor);
  }
  return (highest - lowest) / (levels_ - 1);
}

double ActivationNoise::LossFor(std::span<const float> s) const {
  const double step = StepFor(s);
  return double(tokens_) * step * step / 12;
}

void AddNoise(double loss, const float* w, const float* delta, int64_t rows, int64_t k,
              std::span<const float> s, double* losses) {
  if (loss == 0) return;
  for (int64_t r = 0; r < rows; ++r) {
    losses[r] += loss * ScaledNorm(w + r * k, delta + r * k, s.empty() ? nullptr : s.data(), k);
  }
}

}  // namespace ptq
