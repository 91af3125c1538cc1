// Corrects weights for inputs that are not what they were before earlier layers were quantized.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gram_view.h"

#include "ptq/tensor/matrix_rows.h"

namespace ptq {

/// With x the original's inputs and x̂ those that a linear gets, W* = W + W C (H + λI)⁻¹, C = Σ (x −
/// x̂) x̂ᵀ, H = Σ x̂ x̂ᵀ, is the ridge regression of the original outputs W x on x̂: no linear is worse
/// for it on Σ ‖W x − W* x̂‖². QEP (Arai & Ichikawa 2025, arXiv 2504.09629, theorem 1) with α = 1.
class Correction {
 public:
  /// `gram`: lower triangle of H; `cross`: C; both [K, K] and `cross` outlives this. λ is a tenth
  /// of the mean of H's diagonal, or the mean itself when there are few tokens for K channels.
  Correction(std::span<const float> gram, std::span<const float> cross, int64_t k, int64_t tokens);

  /// W* [N, K], row-major; W itself where the correction is not finite. On all threads.
  [[nodiscard]] std::vector<float> Apply(const MatrixRows& w) const;
  /// Σ ‖W x − W x̂‖² − Σ ‖W x − W* x̂‖² for the W* of Apply: tr(DHDᵀ) + 2 λ ‖D‖², D = W* − W, since
  /// D (H + λI) = W C.
  [[nodiscard]] double Gain(const GramView& gram, const MatrixRows& w,
                            std::span<const float> corrected) const;

 private:
  std::span<const float> cross_;
  int64_t k_;
  double ridge_ = 0;            ///< λ
  std::vector<double> factor_;  ///< of H + λI; empty when there is none
};

}  // namespace ptq
