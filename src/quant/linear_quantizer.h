// Quantizes the rows of one weight under a scale of its channels, and keeps the better rows.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "activation_noise.h"
#include "pieces.h"

#include "ptq/tensor/matrix_rows.h"

namespace ptq {

/// A method's grid, rounding and rounds of refinement.
struct RowPieces {
  const GridEntry& grid;
  const RoundingEntry& rounding;
  int refine = 0;

  /// Whether they are what every row is compared with.
  [[nodiscard]] bool IsPlain() const;
  [[nodiscard]] bool operator==(const RowPieces& other) const {
    return &grid == &other.grid && &rounding == &other.rounding && refine == other.refine;
  }
};

/// The two ways in which each row may be quantized, made once for all linears of a site: the
/// pieces', and the min-max grid with rounding to nearest.
class RowMethod {
 public:
  /// `gram` is of the unscaled inputs; `s` [K] or empty; both outlive this. `noise`: what a weight
  /// of 1 of each channel loses since they are rounded (ActivationNoise::LossesFor), or empty.
  RowMethod(const GramView& gram, std::vector<double> noise, std::span<const float> s,
            const RowPieces& pieces);
  RowMethod(const RowMethod&) = delete;
  RowMethod& operator=(const RowMethod&) = delete;

  [[nodiscard]] const GramView& gram() const { return gram_; }
  [[nodiscard]] std::span<const float> s() const { return s_; }
  [[nodiscard]] std::span<const double> noise() const { return noise_; }
  [[nodiscard]] bool plain_only() const { return plain_only_; }
  /// Sets grid and codes of a block of W·diag(s).
  void RoundPlainly(const RowBlock& block) const;
  void Round(const RowBlock& block) const;

 private:
  const GramView& gram_;
  std::span<const float> s_;
  std::vector<double> noise_;
  GramView scaled_;  ///< of the inputs that W·diag(s) sees
  bool plain_only_;
  Grid plain_grid_;
  Rounding plain_rounding_;
  Grid grid_;
  Rounding rounding_;
  std::function<void(const RowBlock&)> refine_;
};

/// A weight on its way.
struct LinearTask {
  const std::string& name;  ///< for messages
  const MatrixRows& w;      ///< [N, K]
  const QuantSpec& spec;
};

struct LinearQuantization {
  QuantizedMatrix q;      ///< of W · diag(s)
  double loss = 0;        ///< tr(ΔHΔᵀ) in the coordinates of the unscaled weight, H not shrunk,
                          ///< and what the noise of the activations costs
  double loss_plain = 0;  ///< the same had every row been rounded to nearest on the min-max grid
  double shrunk_loss = 0;  ///< with H shrunk: what choices are made by
  double energy = 0;       ///< tr(WHWᵀ); not computed again under a scale
};

/// Quantizes every row in both ways and keeps what costs less, with and without shrinkage; so loss
/// ≤ loss_plain. Losses are in double and do not depend on the number of threads. Reads the weight
/// once; without a scale, throws InputError when it is not finite.
[[nodiscard]] LinearQuantization QuantizeLinear(const RowMethod& method, const LinearTask& task);

/// The shrunk loss of QuantizeLinear under each scale of the channels (an empty one is none). All
/// rows of all scales are judged together: a product of few rows with the Gram matrix costs nearly
/// as much as one of many.
[[nodiscard]] std::vector<double> LossesOf(const GramView& gram, const ActivationNoise& noise,
                                           std::span<const std::span<const float>> scales,
                                           const RowPieces& pieces, const LinearTask& task);

/// tr(ΔHΔᵀ) of a weight W that was quantized as `q` under the scale `s` (or an empty one): of its
/// codes, and of those that are nearest on the same grid. H is not shrunk, and noise does not
/// count.
struct LossSplit {
  double codes = 0;
  double nearest = 0;
};
[[nodiscard]] LossSplit SplitLoss(const GramView& gram, std::span<const float> s,
                                  const LinearTask& task, const QuantizedMatrix& q);

/// tr(WHWᵀ)
[[nodiscard]] double Energy(const GramView& gram, std::span<const float> w, int64_t n);

}  // namespace ptq
