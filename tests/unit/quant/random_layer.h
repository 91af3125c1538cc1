// Layers of every kind that a method may meet, for the tests of properties.
#pragma once

#include <limits>
#include <vector>

#include "quant_testing.h"

namespace ptq::testing {

template <typename T>
T Pick(std::mt19937& random, const std::vector<T>& choices) {
  return choices[std::uniform_int_distribution<size_t>(0, choices.size() - 1)(random)];
}

inline bool Chance(std::mt19937& random, double probability) {
  return std::bernoulli_distribution(probability)(random);
}

inline Values RandomInputs(std::mt19937& random, int64_t k) {
  const int64_t tokens = Pick<int64_t>(random, {1, 3, k, 3 * k});
  Values x = Chance(random, 0.4) ? CorrelatedInputs(random, tokens, k) : Normal(random, tokens * k);
  const float size = Pick<float>(random, {1e-10f, 1.0f, 1.0f, 1.0f, 1e10f});
  const bool common = Chance(random, 0.3);
  const bool outliers = Chance(random, 0.4);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t j = 0; j < k; ++j) {
      float& value = x[size_t(t * k + j)];
      value *= size;
      if (common && j > 0) value += 2.0f * x[size_t(t * k)];
      if (outliers && j % 19 == 1) value *= 40.0f;
      if (outliers && j % 23 == 2) value = 0.0f;
    }
  }
  return x;
}

inline Values RandomWeight(std::mt19937& random, int64_t n, int64_t k) {
  const std::vector<float> sizes = {1e-40f, 1e-30f, 1e-6f, 0.05f, 0.05f, 0.05f, 1.0f, 1e30f};
  Values w = Normal(random, n * k, Pick(random, sizes));
  if (Chance(random, 0.3)) {  // heavy tails
    for (float& value : w) value *= std::abs(Normal(random, 1)[0]) + 0.1f;
  }
  if (Chance(random, 0.3)) {  // zero columns and a zero row
    for (int64_t r = 0; r < n; ++r) w[size_t(r * k + k / 2)] = 0.0f;
    for (int64_t j = 0; j < k; ++j) w[size_t(n / 2 * k + j)] = 0.0f;
  }
  if (Chance(random, 0.1)) {  // all positive
    for (float& value : w) value = std::abs(value);
  }
  return w;
}

/// Sanitizers look for other faults than wrong numbers, at ten times the time: a part of the seeds
/// is enough for them.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr uint32_t kSeedsPart = 5;
#else
inline constexpr uint32_t kSeedsPart = 1;
#endif

/// A site with one to three linears of small size.
inline Layer RandomLayer(std::mt19937& random) {
  Layer layer;
  layer.k = Pick<int64_t>(random, {1, 2, 5, 9, 16, 17, 31, 33, 33, 64, 65, 127, 129});
  const Values x = RandomInputs(random, layer.k);
  if (Chance(random, 0.3)) {
    const Values noise = Normal(random, int64_t(x.size()), Pick<float>(random, {0.01f, 0.5f}));
    Values x_hat = x;
    for (size_t i = 0; i < x.size(); ++i) x_hat[i] += noise[i] * x[i];
    layer.Observe(x, x_hat);
  } else {
    layer.Observe(x);
  }
  if (Chance(random, 0.5)) layer.tokens = int64_t(x.size()) / layer.k;
  if (layer.tokens > 0 && Chance(random, 0.5)) layer.activation_levels = 256;
  if (layer.tokens > 0 && layer.activation_levels == 0 && Chance(random, 0.5)) {
    layer.activation_block = Pick<int64_t>(random, {16, 32});
  }
  const int siblings = Pick<int>(random, {1, 1, 2, 3});
  for (int i = 0; i < siblings; ++i) {
    const int64_t n = Pick<int64_t>(random, {1, 2, 7, 16, 65});
    const QuantSpec spec =
        Spec(Pick<int>(random, {2, 3, 4, 4, 8}), Pick<int64_t>(random, {0, 16, 32, 128}),
             Chance(random, 0.5), Chance(random, 0.5) ? ScaleType::kFloat16 : ScaleType::kFloat32);
    layer.Add(RandomWeight(random, n, layer.k), spec);
  }
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (Chance(random, 0.03)) layer.mean_abs[0] = std::nanf("");
  if (Chance(random, 0.03)) layer.max_abs[0] = kInfinity;
  if (Chance(random, 0.03)) layer.highest[0] = kInfinity;
  if (Chance(random, 0.03)) layer.gram[0] = kInfinity;
  if (Chance(random, 0.03) && !layer.cross.empty()) layer.cross[0] = kInfinity;
  if (Chance(random, 0.03)) std::ranges::fill(layer.mean_abs, 0.0f);
  if (Chance(random, 0.03)) layer.gram.clear();
  return layer;
}

}  // namespace ptq::testing
