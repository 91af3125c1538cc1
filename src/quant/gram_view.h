// What a linear's error costs: Δ H Δᵀ for each row of Δ, straight from the Gram matrix of its
// inputs.
#pragma once

#include <cstdint>
#include <span>

namespace ptq {

/// The Gram matrix H = Σ x xᵀ of a site, read in place from its lower triangle; or, when nothing is
/// known of the inputs, the identity (the loss is then ‖Δ‖²).
///
/// Its off-diagonal can be shrunk, H ← (1 − ρ) H + ρ diag(H): what few tokens say of two channels
/// together is mostly chance. And it can be seen for weights W·diag(s), whose inputs are x / s,
/// with noise that is added to these.
class GramView {
 public:
  /// `lower` is row-major [k, k] (only column ≤ row is read), or empty for the identity; it
  /// outlives this. `shrinkage`: ρ in [0, 1].
  GramView(std::span<const float> lower, int64_t k, double shrinkage = 0);
  /// The same inputs for weights W·diag(s). `s`: [K], outlives the result, or empty. `noise` ≥ 0,
  /// [K] (it outlives the result, too) or empty, is added to the diagonal of what they see; not
  /// where nothing is known of the inputs.
  [[nodiscard]] GramView Scaled(std::span<const float> s, std::span<const double> noise = {}) const;

  [[nodiscard]] bool identity() const { return lower_.empty(); }
  [[nodiscard]] int64_t k() const { return k_; }
  /// H_jj / s_j², and the noise
  [[nodiscard]] float diagonal(int64_t j) const;

  /// The loss Δ_r H' Δ_rᵀ ≥ 0 of each row, where Δ is row-major [rows, cols] and H' the diagonal
  /// block of H for the channels [begin, begin + cols). `raw`, unless null, gets the same without
  /// shrinkage. Overwrites `delta`. Each row is brought to unit size first (by a power of two), so
  /// neither huge nor tiny weights leave the range of float.
  void RowLosses(float* delta, int64_t rows, int64_t begin, int64_t cols, double* losses,
                 double* raw = nullptr) const;
  /// out[r] = w_r H w_rᵀ without shrinkage, for rows of all channels.
  void RowEnergies(const float* w, int64_t rows, double* out) const;

  /// Columns [begin, begin + cols) of Δ H, half the gradient of the loss, for Δ [rows, K]. `out` is
  /// [rows, cols]. On this thread.
  void Gradient(const float* delta, int64_t rows, int64_t begin, int64_t cols, float* out) const;
  /// The same where Δ is [rows, cols], all that is not zero of it.
  void BlockGradient(const float* delta, int64_t rows, int64_t begin, int64_t cols,
                     float* out) const;
  /// The diagonal block of the channels [begin, begin + cols), dense: `out` is [cols, cols].
  void Block(int64_t begin, int64_t cols, float* out) const;
  /// For rows u [rows, K] cut into groups of `group` channels: the forms u_gᵀ H_gh u_h for h ≤ g.
  /// `out` is [rows, groups, groups], of which the upper triangles stay as they are.
  void GroupForms(const float* u, int64_t rows, int64_t group, float* out) const;
  /// The lower triangle of H with its channels in another order; `out` is [K, K].
  void Permuted(std::span<const int64_t> order, double* out) const;

 private:
  struct Channels {
    int64_t begin;
    int64_t count;
  };
  /// Some columns of u H, where u holds some columns that include these and is zero elsewhere.
  void Multiply(const float* u, int64_t rows, Channels of_u, Channels of_out, float* out) const;

  std::span<const float> lower_;
  int64_t k_;
  double shrinkage_;
  std::span<const float> s_;
  std::span<const double> noise_;
  int half_exponent_ = 0;  ///< half the binary exponent of the largest diagonal element
};

/// Whether every element of the lower triangle is finite and no diagonal element negative.
[[nodiscard]] bool IsUsableGram(std::span<const float> lower, int64_t k);

/// How much to shrink what `tokens` tokens say of K channels: K / (K + T/4). Tokens of a text are
/// correlated, which is why they count for a quarter of independent samples.
[[nodiscard]] double ShrinkageFor(int64_t k, int64_t tokens);

}  // namespace ptq
