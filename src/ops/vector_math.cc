// Polynomials for exp and what is made of it, in loops that the compiler turns into vectors.
#include "vector_math.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <unsupported/Eigen/SpecialFunctions>

#include "ptq/base/simd.h"

namespace ptq {
namespace {

/// Adding it leaves no bits for a fraction: rounds to the nearest integer.
constexpr float kRound = 12582912.0f;
constexpr float kLargestExponent = 88.72283f;    // beyond, exp is infinite
constexpr float kSmallestExponent = -87.33654f;  // below, exp has no normal result
/// Independent partial results, so that a vector holds several.
constexpr int kLanes = 16;

/// exp(x) within 2 units of the last place; infinity and exactly 0 outside of the normal range.
/// Source: Cephes' expf (Moshier 1992): exp(x) = 2^n · P(x − n·ln 2), ln 2 in two parts.
inline float Exp(float x) {
  const float bounded = std::min(std::max(x, kSmallestExponent), kLargestExponent);
  const float n = (bounded * 1.44269504f + kRound) - kRound;
  float r = bounded - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2^n in two factors, as 2^128 is no number.
  const int whole = int(n);
  const int first = whole / 2;
  p = p * std::bit_cast<float>((first + 127) << 23) *
      std::bit_cast<float>((whole - first + 127) << 23);
  p = x < kSmallestExponent ? 0.0f : p;
  p = x > kLargestExponent ? std::numeric_limits<float>::infinity() : p;
  return x == x ? p : x;
}

inline float Sigmoid(float x) { return 1.0f / (1.0f + Exp(-x)); }

inline float Erf(float x) { return Eigen::internal::generic_fast_erf_float(x); }

}  // namespace

PTQ_VECTOR_CLONES void ExpArray(const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = Exp(x[i]);
}

PTQ_VECTOR_CLONES void ErfArray(const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] == x[i] ? Erf(x[i]) : x[i];
}

PTQ_VECTOR_CLONES void SigmoidArray(const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = Sigmoid(x[i]);
}

PTQ_VECTOR_CLONES void SwishArray(float alpha, const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] * Sigmoid(alpha * x[i]);
}

PTQ_VECTOR_CLONES void GeluArray(const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float phi = 0.5f * x[i] * (1.0f + Erf(x[i] * 0.70710678f));
    y[i] = x[i] == x[i] ? phi : x[i];
  }
}

PTQ_VECTOR_CLONES void TanhGeluArray(const float* x, float* y, int64_t count) {
  // ½·(1 + tanh(u)) = sigmoid(2u)
  for (int64_t i = 0; i < count; ++i) {
    const float v = x[i];
    y[i] = v * Sigmoid(2.0f * v * (0.79788456f + 0.035677408f * v * v));
  }
}

PTQ_VECTOR_CLONES float LargestOf(const float* x, int64_t count) {
  float lanes[kLanes];
  bool number = true;
  std::fill_n(lanes, kLanes, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float value = x[i + lane];
      lanes[lane] = lanes[lane] >= value ? lanes[lane] : value;  // NaN is taken, and then stays
      lanes[lane] = value == value ? lanes[lane] : value;
    }
  }
  for (; i < count; ++i) lanes[0] = lanes[0] >= x[i] ? lanes[0] : x[i];
  float largest = lanes[0];
  for (const float value : lanes) {
    number = number && value == value;
    largest = largest >= value ? largest : value;
  }
  return number ? largest : std::numeric_limits<float>::quiet_NaN();
}

PTQ_VECTOR_CLONES float ExpDifferences(const float* x, float largest, float* y, int64_t count) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      y[i + lane] = Exp(x[i + lane] - largest);
      lanes[lane] += y[i + lane];
    }
  }
  float sum = 0;
  for (const float value : lanes) sum += value;
  for (; i < count; ++i) sum += y[i] = Exp(x[i] - largest);
  return sum;
}

}  // namespace ptq
