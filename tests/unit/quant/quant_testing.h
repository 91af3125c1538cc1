// Random layers, and the mathematics once more in plain double loops, for the tests of quant.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "activation_noise.h"
#include <gtest/gtest.h>

#include "ptq/base/half.h"
#include "ptq/base/parallel.h"
#include "ptq/quant/method.h"

namespace ptq::testing {

using Values = std::vector<float>;

inline QuantSpec Spec(int bits, int64_t group_size, bool symmetric,
                      ScaleType type = ScaleType::kFloat32) {
  QuantSpec spec;
  spec.bits = bits;
  spec.group_size = group_size;
  spec.symmetric = symmetric;
  spec.scale_type = type;
  return spec;
}

/// Groups of 16 at any width, symmetric or not, with either type of scales.
inline QuantSpec RandomSpec(std::mt19937& random) {
  const int bits = std::vector<int>{2, 3, 4, 8}[random() % 4];
  const bool symmetric = random() % 2 == 0;
  const ScaleType type = random() % 2 == 0 ? ScaleType::kFloat16 : ScaleType::kFloat32;
  return Spec(bits, 16, symmetric, type);
}

/// As the program does: threads of our own, none inside the matrix library.
class TwoThreads : public ::testing::Environment {
 public:
  void SetUp() override { limit_ = std::make_unique<ThreadLimit>(2); }
  void TearDown() override { limit_.reset(); }

 private:
  std::unique_ptr<ThreadLimit> limit_;
};
inline ::testing::Environment* const kTwoThreads =
    ::testing::AddGlobalTestEnvironment(new TwoThreads);

inline Values Normal(std::mt19937& random, int64_t count, float sigma = 1.0f) {
  std::normal_distribution<float> distribution(0.0f, sigma);
  Values values(static_cast<size_t>(count));
  for (float& value : values) value = distribution(random);
  return values;
}

/// Inputs [tokens, K] of which each channel holds a part of every other, and which differ in size.
inline Values CorrelatedInputs(std::mt19937& random, int64_t tokens, int64_t k) {
  const int64_t sources = k / 3 + 1;
  const Values mix = Normal(random, sources * k);
  const Values z = Normal(random, tokens * sources);
  const Values sizes = Normal(random, k);
  Values x = Normal(random, tokens * k, 0.3f);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < sources; ++i) {
      for (int64_t j = 0; j < k; ++j) {
        x[size_t(t * k + j)] += z[size_t(t * sources + i)] * mix[size_t(i * k + j)];
      }
    }
    for (int64_t j = 0; j < k; ++j) x[size_t(t * k + j)] *= std::exp(0.5f * sizes[size_t(j)]);
  }
  return x;
}

/// Owns what a SiteProblem points to.
struct Layer {
  int64_t k = 0;
  int64_t tokens = 0;  ///< as the problem tells; 0: H is taken as it is
  Values mean_abs;
  Values max_abs;
  int activation_levels = 0;
  int64_t activation_block = 0;
  Values sample;  ///< the first tokens
  Values lowest;
  Values highest;
  Values gram;
  Values cross;
  std::vector<Values> weights;
  std::vector<QuantSpec> specs;
  bool scaling_allowed = true;
  std::vector<int64_t> row_of_channel;
  float scale_min = 1e-2f;
  float scale_max = 1e2f;

  /// Statistics of the inputs x[tokens, K]. The upper triangle is poisoned: nobody may read it.
  void Observe(const Values& x) {
    const auto columns = static_cast<size_t>(k);
    const size_t count = x.size() / columns;
    std::vector<double> sums(columns * columns, 0.0), magnitudes(columns, 0.0);
    sample.assign(x.begin(), x.begin() + std::ptrdiff_t(columns * std::min<size_t>(count, 50)));
    max_abs.assign(columns, 0.0f);
    lowest.assign(columns, 0.0f);
    highest.assign(columns, 0.0f);
    for (size_t t = 0; t < count; ++t) {
      const float* row = x.data() + t * columns;
      for (size_t i = 0; i < columns; ++i) {
        for (size_t j = 0; j <= i; ++j) sums[i * columns + j] += double(row[i]) * double(row[j]);
        magnitudes[i] += std::abs(double(row[i]));
        max_abs[i] = std::max(max_abs[i], std::abs(row[i]));
        lowest[i] = std::min(lowest[i], row[i]);
        highest[i] = std::max(highest[i], row[i]);
      }
    }
    gram.assign(columns * columns, std::nanf(""));
    mean_abs.assign(columns, 0.0f);
    for (size_t i = 0; i < columns; ++i) {
      for (size_t j = 0; j <= i; ++j) gram[i * columns + j] = float(sums[i * columns + j]);
      mean_abs[i] = float(magnitudes[i] / double(count));
    }
  }
  /// Statistics of the inputs x̂ that a linear gets where the original model would give x.
  void Observe(const Values& x, const Values& x_hat) {
    Observe(x_hat);
    const auto columns = static_cast<size_t>(k);
    std::vector<double> sums(columns * columns, 0.0);
    for (size_t t = 0; t < x.size(); t += columns) {
      for (size_t i = 0; i < columns; ++i) {
        const double difference = double(x[t + i]) - double(x_hat[t + i]);
        for (size_t j = 0; j < columns; ++j) {
          sums[i * columns + j] += difference * double(x_hat[t + j]);
        }
      }
    }
    cross.assign(sums.begin(), sums.end());
  }
  void Add(Values w, const QuantSpec& spec) {
    weights.push_back(std::move(w));
    specs.push_back(spec);
  }
  [[nodiscard]] int64_t n(size_t linear) const { return int64_t(weights[linear].size()) / k; }
  /// What rounding the activations costs.
  [[nodiscard]] ActivationNoise Noise() const {
    if (activation_block > 0) return {sample, k, activation_block, tokens};
    return {lowest, highest, tokens, activation_levels};
  }
  [[nodiscard]] SiteProblem Problem() const {
    SiteProblem problem;
    problem.k = k;
    problem.tokens = tokens;
    problem.mean_abs = mean_abs;
    problem.max_abs = max_abs;
    problem.activations.levels = activation_levels;
    problem.activations.block = activation_block;
    if (activation_block > 0) problem.activations.sample = sample;
    problem.activations.lowest = lowest;
    problem.activations.highest = highest;
    problem.gram = gram;
    problem.cross = cross;
    problem.scaling_allowed = scaling_allowed;
    problem.row_of_channel = row_of_channel;
    problem.scale_min = scale_min;
    problem.scale_max = scale_max;
    for (size_t i = 0; i < weights.size(); ++i) {
      problem.linears.push_back(
          {"linear" + std::to_string(i), MatrixRows(weights[i], k), specs[i]});
    }
    return problem;
  }
};

/// Q(W·diag(s))·diag(s)⁻¹ in double.
inline std::vector<double> Effective(const QuantizedMatrix& q, const Values& s) {
  std::vector<double> values(static_cast<size_t>(q.n * q.k));
  const int64_t group = q.spec.GroupSizeFor(q.k);
  for (int64_t r = 0; r < q.n; ++r) {
    for (int64_t j = 0; j < q.k; ++j) {
      const size_t g = size_t(r * q.spec.GroupsFor(q.k) + j / group);
      const size_t i = size_t(r * q.k + j);
      const float level = q.spec.Level(q.codes[i], q.zero_points[g]);
      // Of a codebook as it is computed: below float's normal range that is far from the product.
      values[i] =
          q.spec.uniform() ? double(level) * double(q.scales[g]) : double(level * q.scales[g]);
      if (!s.empty()) values[i] /= double(s[size_t(j)]);
    }
  }
  return values;
}

/// Σ over rows of d H dᵀ for d = a − b; `gram` is a lower triangle or empty (identity).
inline double NaiveLoss(const std::vector<double>& a, const Values& b, const Values& gram,
                        int64_t k) {
  double loss = 0;
  const int64_t rows = int64_t(a.size()) / k;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < k; ++i) {
      const double di = a[size_t(r * k + i)] - double(b[size_t(r * k + i)]);
      if (gram.empty()) {
        loss += di * di;
        continue;
      }
      for (int64_t j = 0; j < k; ++j) {
        const double h = double(gram[size_t(std::max(i, j) * k + std::min(i, j))]);
        loss += di * h * (a[size_t(r * k + j)] - double(b[size_t(r * k + j)]));
      }
    }
  }
  return loss;
}

/// Round-to-nearest as the specification words it: each group's scale rounded to its type, then
/// codes.
inline QuantizedMatrix NaiveRtn(const Values& w, int64_t k, const QuantSpec& spec,
                                double shrink = 1.0) {
  QuantizedMatrix q;
  q.spec = spec;
  q.k = k;
  q.n = int64_t(w.size()) / k;
  const int64_t group = spec.GroupSizeFor(k);
  for (int64_t r = 0; r < q.n; ++r) {
    for (int64_t begin = 0; begin < k; begin += group) {
      const int64_t end = std::min(k, begin + group);
      double low = 0;
      double high = 0;
      for (int64_t j = begin; j < end; ++j) {
        low = std::min(low, double(w[size_t(r * k + j)]));
        high = std::max(high, double(w[size_t(r * k + j)]));
      }
      const double extreme = high >= -low ? high : low;
      double scale = spec.symmetric ? -extreme * shrink / spec.mid()
                                    : (high - low) * shrink / (spec.levels() - 1);
      scale = spec.scale_type == ScaleType::kFloat16 ? RoundToHalf(float(scale)) : float(scale);
      if (extreme == 0) scale = 1;
      const int zero = spec.symmetric ? spec.mid() : int(std::nearbyint(-low * shrink / scale));
      q.scales.push_back(float(scale));
      q.zero_points.push_back(uint8_t(zero));
      for (int64_t j = begin; j < end; ++j) {
        const double code = std::nearbyint(double(w[size_t(r * k + j)] / float(scale))) + zero;
        q.codes.push_back(uint8_t(std::min(std::max(code, 0.0), double(spec.levels() - 1))));
      }
    }
  }
  return q;
}

inline Method Pieces(const std::string& scaling, const std::string& grid,
                     const std::string& rounding = "nearest", int refine = 0) {
  return {scaling, grid, rounding, refine};
}

/// Quantizes one weight that nothing is known about.
inline LinearResult QuantizeAlone(const Values& w, int64_t k, const QuantSpec& spec,
                                  const std::string& grid = "minmax") {
  Layer layer;
  layer.k = k;
  layer.Add(w, spec);
  return QuantizeSite(layer.Problem(), Pieces("none", grid)).linears.front();
}

}  // namespace ptq::testing
