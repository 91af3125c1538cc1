// Vectorised functions of float arrays that several kernels share.
#pragma once

#include <Eigen/Core>
#include <limits>
#include <unsupported/Eigen/SpecialFunctions>

namespace ptq {

/// exp(x), exactly 0 below the smallest normal result: Eigen's clamps there to a denormal number,
/// which would slow down every later product with a masked attention weight.
template <class Derived>
auto ExpOf(const Eigen::ArrayBase<Derived>& x) {
  return (x.derived() < -87.3f).select(0.0f, x.derived().exp());
}

/// y = exp(x) with the same zeros, for a y in memory: unlike ExpOf all of it runs on vectors.
template <class Derived, class Result>
void StoreExp(const Eigen::ArrayBase<Derived>& x, Result&& y) {
  y = x.derived().exp();
  float* const values = y.data();
  const Eigen::Index count = y.size();
  for (Eigen::Index i = 0; i < count; ++i) {
    values[i] = values[i] < std::numeric_limits<float>::min() ? 0.0f : values[i];
  }
}

template <class Derived>
auto SigmoidOf(const Eigen::ArrayBase<Derived>& x) {
  return (1.0f + (-x.derived()).exp()).inverse();
}

/// x · Φ(x), the exact GELU.
template <class Derived>
auto GeluOf(const Eigen::ArrayBase<Derived>& x) {
  return 0.5f * x.derived() * (1.0f + Eigen::erf(x.derived() * 0.70710678f));
}

/// GELU with the tanh approximation.
template <class Derived>
auto TanhGeluOf(const Eigen::ArrayBase<Derived>& x) {
  return 0.5f * x.derived() *
         (1.0f + (x.derived() * (0.79788456f + 0.035677408f * x.derived() * x.derived())).tanh());
}

}  // namespace ptq
