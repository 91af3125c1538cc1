// Blocks of rows that own what they point to, and H as a dense matrix of doubles.
#pragma once

#include <Eigen/Dense>
#include <vector>

#include "gram_view.h"
#include "pieces.h"
#include "quant_testing.h"

namespace ptq::testing {

using Dense = Eigen::MatrixXd;

/// (1 − ρ) H + ρ diag(H) of the inputs x / s; `gram` is a lower triangle or empty (identity).
inline Dense DenseGram(const Values& gram, int64_t k, double shrinkage = 0, const Values& s = {}) {
  Dense h = Dense::Identity(k, k);
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < k; ++j) {
      if (!gram.empty()) h(i, j) = double(gram[size_t(std::max(i, j) * k + std::min(i, j))]);
      if (i != j) h(i, j) *= 1 - shrinkage;
      if (!s.empty()) h(i, j) /= double(s[size_t(i)]) * double(s[size_t(j)]);
    }
  }
  return h;
}

inline Dense DenseRows(const Values& values, int64_t k) {
  using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  return Eigen::Map<const Rows>(values.data(), int64_t(values.size()) / k, k).cast<double>();
}

/// Weights and their codes.
class OwnedBlock {
 public:
  OwnedBlock(Values w, int64_t k, const QuantSpec& spec)
      : w_(std::move(w)), q_(spec, int64_t(w_.size()) / k, k) {}

  [[nodiscard]] RowBlock view() {
    return {q_.spec,        q_.n, q_.k, w_.data(), q_.scales.data(), q_.zero_points.data(),
            q_.codes.data()};
  }
  [[nodiscard]] const Values& w() const { return w_; }
  [[nodiscard]] const QuantizedMatrix& q() const { return q_; }
  [[nodiscard]] QuantizedMatrix& q() { return q_; }
  /// What the codes of row r stand for minus its weights.
  [[nodiscard]] Eigen::RowVectorXd Delta(int64_t r) const {
    Eigen::RowVectorXd delta(q_.k);
    const int64_t group = q_.spec.GroupSizeFor(q_.k);
    for (int64_t j = 0; j < q_.k; ++j) {
      const auto g = size_t(r * q_.spec.GroupsFor(q_.k) + j / group);
      const auto i = size_t(r * q_.k + j);
      const auto level = double(q_.spec.Level(q_.codes[i], q_.zero_points[g]));
      delta[j] = level * double(q_.scales[g]) - double(w_[i]);
    }
    return delta;
  }
  /// Δ H Δᵀ of each row.
  [[nodiscard]] std::vector<double> Losses(const Dense& h) const {
    std::vector<double> losses;
    for (int64_t r = 0; r < q_.n; ++r) {
      const Eigen::RowVectorXd delta = Delta(r);
      losses.push_back((delta * h).dot(delta));
    }
    return losses;
  }

 private:
  Values w_;
  QuantizedMatrix q_;
};

/// A Gram matrix as the pieces see it and in double: of K correlated channels, of few tokens or
/// unknown, shrunk or not, scaled or not, with noise or without.
struct TestedGram {
  TestedGram(std::mt19937& random, int64_t k, int64_t tokens, bool shrunk, bool scaled,
             bool noisy = false) {
    if (tokens > 0) {
      Layer layer;
      layer.k = k;
      layer.Observe(CorrelatedInputs(random, tokens, k));
      lower = layer.gram;
    }
    if (shrunk) shrinkage = 0.3;
    if (scaled) {
      for (const float value : Normal(random, k)) s.push_back(std::exp(value));
    }
    dense = DenseGram(lower, k, tokens > 0 ? shrinkage : 0.0, s);
    raw = DenseGram(lower, k, 0, s);
    if (noisy) {  // another for each channel
      for (int64_t j = 0; j < k; ++j) noise.push_back(dense.diagonal().mean() * double(1 + j % 3));
    }
    for (int64_t j = 0; noisy && tokens > 0 && j < k; ++j) {
      dense(j, j) += noise[size_t(j)];
      raw(j, j) += noise[size_t(j)];
    }
    unscaled = std::make_unique<GramView>(lower, k, shrinkage);
    view = std::make_unique<GramView>(unscaled->Scaled(s, noise));
  }

  Values lower;
  Values s;
  double shrinkage = 0;
  std::vector<double> noise;
  Dense dense;
  Dense raw;  ///< without shrinkage
  std::unique_ptr<GramView> unscaled;
  std::unique_ptr<GramView> view;
};

/// Calls `test` for each kind of Gram matrix of K channels, without noise.
template <typename Test>
void ForEachGram(std::mt19937& random, int64_t k, const Test& test, bool with_noise = false) {
  for (const int64_t tokens : {int64_t{0}, k / 2 + 1, 5 * k}) {
    for (const bool shrunk : {false, true}) {
      for (const bool scaled : {false, true}) {
        for (const bool noisy : {false, true}) {
          if (noisy && !with_noise) continue;
          SCOPED_TRACE("K " + std::to_string(k) + ", tokens " + std::to_string(tokens) +
                       (shrunk ? ", shrunk" : "") + (scaled ? ", scaled" : "") +
                       (noisy ? ", noisy" : ""));
          test(TestedGram(random, k, tokens, shrunk, scaled, noisy));
        }
      }
    }
  }
}

}  // namespace ptq::testing
