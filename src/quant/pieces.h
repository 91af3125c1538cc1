// The shapes of the three pieces of a method, and the lists of those that exist.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "loss.h"

#include "ptq/quant/method.h"
#include "ptq/quant/spec.h"

namespace ptq {

/// What a grid or a rounding may know of the inputs.
struct SiteView {
  const GramView& gram;      ///< of the unscaled inputs
  std::span<const float> s;  ///< [K], or empty when the site is not scaled
};

/// Some rows of W·diag(s), and where their grid and codes go.
struct RowBlock {
  const QuantSpec& spec;
  int64_t rows;
  int64_t k;
  const float* w;        ///< [rows, K], finite
  float* scales;         ///< [rows, groups]
  uint8_t* zero_points;  ///< [rows, groups]
  uint8_t* codes;        ///< [rows, K]
};

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
  Grid (*make)(const SiteView&);  ///< the view outlives the grid
};
struct RoundingEntry {
  std::string_view name;
  bool needs_statistics;
  Rounding (*make)(const SiteView&);  ///< the view outlives the rounding
};

/// The pieces by name. Throw UsageError that lists the known names.
[[nodiscard]] const ScalingEntry& FindScaling(std::string_view name);
[[nodiscard]] const GridEntry& FindGrid(std::string_view name);
[[nodiscard]] const RoundingEntry& FindRounding(std::string_view name);

#define PTQ_SCALING(name, statistics, maker) \
  std::vector<ScalingCandidate> maker(const SiteProblem& problem);
#define PTQ_GRID(name, statistics, maker) Grid maker(const SiteView& site);
#define PTQ_ROUNDING(name, statistics, maker) Rounding maker(const SiteView& site);
#define PTQ_PRESET(name, scaling, grid, rounding)
#include "pieces.inc"
#undef PTQ_SCALING
#undef PTQ_GRID
#undef PTQ_ROUNDING
#undef PTQ_PRESET

}  // namespace ptq
