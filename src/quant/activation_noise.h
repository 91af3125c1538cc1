// What rounding the activations of a site adds to the error of its linears.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ptq/quant/spec.h"

namespace ptq {

/// Activations x / s that are rounded to evenly spaced levels. The errors of channels are taken as
/// independent of each other, so a row ŵ of weights loses Σ_j ŵ_j² times the variance at channel j
/// for each token.
class ActivationNoise {
 public:
  /// Nothing is rounded.
  ActivationNoise() = default;
  /// One spacing for all channels and tokens, and errors that are uniform (Widrow, Kollár:
  /// Quantization Noise, ch. 5). `lowest`, `highest`: the range of each channel of x,
  /// [K]; they outlive this. 0 is always one of the levels, of which there are 256, say.
  ActivationNoise(std::span<const float> lowest, std::span<const float> highest, int64_t tokens,
                  int levels)
      : lowest_(lowest), highest_(highest), tokens_(tokens), levels_(levels) {}
  /// A spacing for each token and block of `block` channels, as MatMulNBits has them at accuracy
  /// level 4 (tensor/block_rounding.h), and the errors of a sample. `sample`: some of the tokens,
  /// [rows, K], not none; it outlives this.
  ActivationNoise(std::span<const float> sample, int64_t k, int64_t block, int64_t tokens)
      : tokens_(tokens), sample_(sample), k_(k), block_(block) {}

  [[nodiscard]] bool none() const { return levels_ == 0 && block_ == 0; }
  /// The distance of two levels of all channels for x / s; `s`: [K], or empty.
  [[nodiscard]] double StepFor(std::span<const float> s) const;
  /// What a weight of 1 of each channel of W·diag(s) loses over all tokens, [K]; empty for none.
  [[nodiscard]] std::vector<double> LossesFor(std::span<const float> s) const;
  /// The errors of the x / s of the sample, [rows, K]; empty without one.
  [[nodiscard]] std::vector<float> ErrorsFor(std::span<const float> s) const;
  /// Tokens for each one of the sample.
  [[nodiscard]] double TokensForEach() const {
    return double(tokens_) * double(k_) / double(sample_.size());
  }

 private:
  std::span<const float> lowest_;
  std::span<const float> highest_;
  int64_t tokens_ = 0;
  int levels_ = 0;
  std::span<const float> sample_;
  int64_t k_ = 0;
  int64_t block_ = 0;
};

/// Adds Σ_j losses_j · ((w_rj + δ_rj)·s_j)² to each of `rows` numbers, for rows of [rows, k]; no
/// losses: nothing. `s` may be empty.
void AddNoise(std::span<const double> losses, const float* w, const float* delta, int64_t rows,
              int64_t k, std::span<const float> s, double* sums);

/// Σ ‖Ŵe‖² over the rows e of `errors`, [rows, K]: what a product loses where what it multiplies is
/// off by these. On all threads; the same for any number of them.
[[nodiscard]] double ProductLoss(const QuantizedMatrix& q, std::span<const float> errors);

}  // namespace ptq
