// Coordinate descent: changes one code at a time, each change to what costs least.
#pragma once

#include <vector>

#include "pieces.h"

namespace ptq {

/// For a block whose grid and codes are set. QuantEase (Behdin et al. 2023, arXiv 2309.01885).
class Descent {
 public:
  /// The view outlives this.
  explicit Descent(const GramView& gram);
  /// Goes over all codes up to `sweeps` times; the loss of no row grows.
  void Run(const RowBlock& block, int sweeps) const;

 private:
  [[nodiscard]] bool Sweep(const RowBlock& block, std::vector<float>& delta,
                           std::vector<float>& gradient) const;
  const GramView& gram_;
  std::vector<std::vector<float>> blocks_;  ///< diagonal blocks of H
};

}  // namespace ptq
