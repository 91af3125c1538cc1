// The shapes of the three pieces of a method, and the lists of those that exist.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gram_view.h"

#include "ptq/quant/method.h"
#include "ptq/quant/spec.h"

namespace ptq {

/// Some rows of W·diag(s), and where their grid and codes go.
struct RowBlock {
  const QuantSpec& spec;
  int64_t rows;
  int64_t k;
  const float* w;        ///< [rows, K], finite
  float* scales;         ///< [rows, groups]
  uint8_t* zero_points;  ///< [rows, groups]
  uint8_t* codes;        ///< [rows, K]

  /// Some of the rows.
  [[nodiscard]] RowBlock Rows(int64_t begin, int64_t count) const;
};

/// Δ = what a block's codes stand for − its weights, [rows, K].
void Errors(const RowBlock& block, std::vector<float>& delta);

/// Sets the scales (finite, not zero, exact in spec.scale_type) and zero points of a block.
using Grid = std::function<void(const RowBlock&)>;
/// Sets the codes of a block whose grid is set. A rounding may improve the grid as well.
using Rounding = std::function<void(const RowBlock&)>;
/// A scale for a site's channels that is worth trying.
struct ScalingCandidate {
  std::string name;
  double alpha = 0;
  std::vector<float> s;  ///< [K], finite, positive
};

struct ScalingEntry {
  std::string_view name;
  bool needs_statistics;
  /// All candidates besides "none"; empty when the statistics do not support any.
  std::vector<ScalingCandidate> (*make)(const SiteProblem&);
};
struct GridEntry {
  std::string_view name;
  bool needs_statistics;
  /// `gram` is of the inputs that the blocks' weights see; it outlives the grid.
  Grid (*make)(const GramView& gram);
};
struct RoundingEntry {
  std::string_view name;
  bool needs_statistics;
  /// A scale is used only if the site's score falls at least to this part of what it is without.
  double accept_scale;
  Rounding (*make)(const GramView& gram);  ///< as of a grid
};

/// The pieces by name. Throw UsageError that lists the known names.
[[nodiscard]] const ScalingEntry& FindScaling(std::string_view name);
[[nodiscard]] const GridEntry& FindGrid(std::string_view name);
[[nodiscard]] const RoundingEntry& FindRounding(std::string_view name);

#define PTQ_SCALING(name, statistics, maker) \
  std::vector<ScalingCandidate> maker(const SiteProblem& problem);
#define PTQ_GRID(name, statistics, maker) Grid maker(const GramView& gram);
#define PTQ_ROUNDING(name, statistics, accept, maker) Rounding maker(const GramView& gram);
#define PTQ_PRESET(...)
#include "pieces.inc"
#undef PTQ_SCALING
#undef PTQ_GRID
#undef PTQ_ROUNDING
#undef PTQ_PRESET

}  // namespace ptq
