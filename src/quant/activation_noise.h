// What rounding the activations of a site adds to the error of its linears.
#pragma once

#include <cstdint>
#include <span>

namespace ptq {

/// Activations x / s that are rounded to evenly spaced levels, one spacing for all channels. The
/// error of each is taken as uniform and independent of everything else (Widrow, Kollár:
/// Quantization Noise, ch. 5), so a row ŵ of weights loses ‖ŵ‖² times its variance for each token.
class ActivationNoise {
 public:
  /// Nothing is rounded.
  ActivationNoise() = default;
  /// `lowest`, `highest`: the range of each channel of x, [K]; they outlive this. 0 is always one
  /// of the levels, of which there are 256, say.
  ActivationNoise(std::span<const float> lowest, std::span<const float> highest, int64_t tokens,
                  int levels)
      : lowest_(lowest), highest_(highest), tokens_(tokens), levels_(levels) {}

  [[nodiscard]] bool none() const { return levels_ == 0; }
  /// The distance of two levels for x / s; `s`: [K], or empty.
  [[nodiscard]] double StepFor(std::span<const float> s) const;
  /// What a row of norm 1 loses over all tokens.
  [[nodiscard]] double LossFor(std::span<const float> s) const;

 private:
  std::span<const float> lowest_;
  std::span<const float> highest_;
  int64_t tokens_ = 0;
  int levels_ = 0;
};

/// Adds loss · ‖(w_r + δ_r)·diag(s)‖² to each of `rows` numbers, for rows of [rows, k]; `s` may be
/// empty.
void AddNoise(double loss, const float* w, const float* delta, int64_t rows, int64_t k,
              std::span<const float> s, double* losses);

}  // namespace ptq
