// Quantizes the rows of one weight for a given scale of its channels, and keeps the better rows.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "pieces.h"

#include "ptq/tensor/matrix_rows.h"

namespace ptq {

/// A weight with the grid and the rounding that it gets.
struct LinearTask {
  const std::string& name;  ///< for messages
  const MatrixRows& w;      ///< [N, K]
  const QuantSpec& spec;
  const GridEntry& grid;
  const RoundingEntry& rounding;
};

struct LinearQuantization {
  QuantizedMatrix q;      ///< of W · diag(s)
  double loss = 0;        ///< tr(ΔHΔᵀ) in the coordinates of the unscaled weight
  double loss_plain = 0;  ///< the same had every row been rounded to nearest on the min-max grid
  double energy = 0;      ///< tr(WHWᵀ); not computed again under a scale
};

/// Quantizes every row twice, by the method's grid and rounding and by min-max and nearest, and
/// keeps for each row what costs less; so loss ≤ loss_plain. Losses are in double and do not depend
/// on the number of threads. Reads the weight once; without a scale, throws InputError when it is
/// not finite.
[[nodiscard]] LinearQuantization QuantizeLinear(const SiteView& site, const LinearTask& task);

/// The loss of QuantizeLinear under each scale of the channels (an empty one is none). All rows of
/// all scales are judged together: a product of few rows with the Gram matrix costs nearly as much
/// as one of many.
[[nodiscard]] std::vector<double> LossesOf(const GramView& gram,
                                           std::span<const std::span<const float>> scales,
                                           const LinearTask& task);

/// tr(WHWᵀ)
[[nodiscard]] double Energy(const GramView& gram, std::span<const float> w, int64_t n);

}  // namespace ptq
