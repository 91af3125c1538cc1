// Quantizes the rows of one weight for a given scale of its channels, and keeps the better rows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pieces.h"

namespace ptq {

/// A weight with the grid and the rounding that it gets.
struct LinearTask {
  std::span<const float> w;  ///< [N, K]
  int64_t n;
  int64_t k;
  const QuantSpec& spec;
  const GridEntry& grid;
  const RoundingEntry& rounding;
};

struct LinearQuantization {
  QuantizedMatrix q;      ///< of W · diag(s)
  double loss = 0;        ///< tr(ΔHΔᵀ) in the coordinates of the unscaled weight
  double loss_plain = 0;  ///< the same had every row been rounded to nearest on the min-max grid
};

/// Quantizes every row twice, by the method's grid and rounding and by min-max and nearest, and
/// keeps for each row what costs less; so loss ≤ loss_plain. Losses are in double and do not depend
/// on the number of threads.
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
