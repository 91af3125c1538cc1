// Random layers, and the mathematics once more in plain double loops, for the tests of quant.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

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

/// Owns what a SiteProblem points to.
struct Layer {
  int64_t k = 0;
  Values mean_abs;
  Values gram;
  std::vector<Values> weights;
  std::vector<QuantSpec> specs;
  bool scaling_allowed = true;
  std::vector<int64_t> row_of_channel;
  float scale_min = 1e-2f;
  float scale_max = 1e2f;

  /// Statistics of the inputs x[tokens, K]. The upper triangle is poisoned: nobody may read it.
  void Observe(const Values& x) {
    const size_t columns = static_cast<size_t>(k);
    const size_t tokens = x.size() / columns;
    gram.assign(columns * columns, std::nanf(""));
    mean_abs.assign(columns, 0.0f);
    for (size_t i = 0; i < columns; ++i) {
      double sum = 0;
      for (size_t t = 0; t < tokens; ++t) sum += std::abs(double(x[t * columns + i]));
      mean_abs[i] = float(sum / double(tokens));
      for (size_t j = 0; j <= i; ++j) {
        double dot = 0;
        for (size_t t = 0; t < tokens; ++t) {
          dot += double(x[t * columns + i]) * double(x[t * columns + j]);
        }
        gram[i * columns + j] = float(dot);
      }
    }
  }
  void Add(Values w, const QuantSpec& spec) {
    weights.push_back(std::move(w));
    specs.push_back(spec);
  }
  [[nodiscard]] int64_t n(size_t linear) const { return int64_t(weights[linear].size()) / k; }
  [[nodiscard]] SiteProblem Problem() const {
    SiteProblem problem;
    problem.k = k;
    problem.mean_abs = mean_abs;
    problem.gram = gram;
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
      values[i] = double(int(q.codes[i]) - int(q.zero_points[g])) * double(q.scales[g]);
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

inline Method Pieces(const std::string& scaling, const std::string& grid) {
  return {scaling, grid, "nearest"};
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
