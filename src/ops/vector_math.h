// Functions of float arrays on the processor's own vectors, shared by several kernels.
#pragma once

#include <Eigen/Core>
#include <cstdint>

namespace ptq {

/// y[i] = f(x[i]); y may be x. NaN stays NaN.
void ExpArray(const float* x, float* y, int64_t count);
void ErfArray(const float* x, float* y, int64_t count);
/// 1 / (1 + exp(−x)).
void SigmoidArray(const float* x, float* y, int64_t count);
/// x · sigmoid(alpha·x).
void SwishArray(float alpha, const float* x, float* y, int64_t count);
/// x · Φ(x), the exact GELU.
void GeluArray(const float* x, float* y, int64_t count);
/// GELU with the tanh approximation.
void TanhGeluArray(const float* x, float* y, int64_t count);

/// max x[i]; NaN when any is. −infinity for nothing.
[[nodiscard]] float LargestOf(const float* x, int64_t count);
/// y[i] = exp(x[i] − largest); returns Σ y[i]. What is below the smallest normal number is exactly
/// 0: a denormal attention weight of a masked token would slow down every later product.
float ExpDifferences(const float* x, float largest, float* y, int64_t count);

/// exp(x) of an array expression, with the same zeros.
template <class Derived>
auto ExpOf(const Eigen::ArrayBase<Derived>& x) {
  return (x.derived() < -87.3f).select(0.0f, x.derived().exp());
}

}  // namespace ptq
