// The one loss that every piece minimises: Δ H Δᵀ for each row of Δ, straight from the Gram matrix.
#pragma once

#include <cstdint>
#include <span>

namespace ptq {

/// The Gram matrix H = Σ x xᵀ of a site, read in place from its lower triangle; or, when nothing is
/// known of the inputs, the identity (the loss is then ‖Δ‖²).
class GramView {
 public:
  /// `lower` is row-major [k, k] (only column ≤ row is read), or empty for the identity.
  GramView(std::span<const float> lower, int64_t k);

  [[nodiscard]] bool identity() const { return lower_.empty(); }
  [[nodiscard]] int64_t k() const { return k_; }
  [[nodiscard]] float diagonal(int64_t j) const {
    return identity() ? 1.0f : lower_[size_t(j * k_ + j)];
  }

  /// out[r] = Δ_r H' Δ_rᵀ ≥ 0, where Δ is row-major [rows, cols] and H' the diagonal block of H for
  /// the channels [begin, begin + cols). Overwrites `delta`. Each row is brought to unit size first
  /// (by a power of two), so neither huge nor tiny weights leave the range of float.
  void RowLosses(float* delta, int64_t rows, int64_t begin, int64_t cols, double* out) const;
  /// out[r] = w_r H w_rᵀ, for rows of all channels.
  void RowEnergies(const float* w, int64_t rows, double* out) const;

 private:
  std::span<const float> lower_;
  int64_t k_;
  int half_exponent_ = 0;  ///< half the binary exponent of the largest diagonal element
};

/// Whether every element of the lower triangle is finite and no diagonal element negative.
[[nodiscard]] bool IsUsableGram(std::span<const float> lower, int64_t k);

}  // namespace ptq
