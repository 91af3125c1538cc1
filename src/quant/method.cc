// Makes the tables of presets, scalings, grids and roundings from pieces.inc.
#include "ptq/quant/method.h"

#include <algorithm>
#include <sstream>

#include "pieces.h"

#include "ptq/base/error.h"
#include "ptq/quant/method_names.h"

namespace ptq {
namespace {

struct Preset {
  std::string_view name;
  std::string_view scaling;
  std::string_view grid;
  std::string_view rounding;
  int refine;
  BiasCorrection bias;
  bool propagate;
};

#define PTQ_SCALING(...)
#define PTQ_GRID(...)
#define PTQ_ROUNDING(...)
#define PTQ_PRESET(name, scaling, grid, rounding, refine, bias, propagate) \
  {name, scaling, grid, rounding, refine, BiasCorrection::bias, propagate},
constexpr Preset kPresets[] = {
#include "pieces.inc"
};
#undef PTQ_SCALING
#undef PTQ_PRESET

#define PTQ_PRESET(...)
#define PTQ_SCALING(name, statistics, maker) {name, statistics, maker},
constexpr ScalingEntry kScalings[] = {
#include "pieces.inc"
};
#undef PTQ_SCALING
#undef PTQ_GRID

#define PTQ_SCALING(...)
#define PTQ_GRID(name, statistics, maker) {name, statistics, maker},
constexpr GridEntry kGrids[] = {
#include "pieces.inc"
};
#undef PTQ_GRID
#undef PTQ_ROUNDING

#define PTQ_GRID(...)
#define PTQ_ROUNDING(name, statistics, accept, maker) {name, statistics, accept, maker},
constexpr RoundingEntry kRoundings[] = {
#include "pieces.inc"
};
#undef PTQ_SCALING
#undef PTQ_GRID
#undef PTQ_ROUNDING
#undef PTQ_PRESET

template <typename Entries>
std::vector<std::string> NamesOf(const Entries& entries) {
  std::vector<std::string> names;
  for (const auto& entry : entries) names.emplace_back(entry.name);
  return names;
}

template <typename Entries>
const auto& Find(const Entries& entries, std::string_view name, std::string_view what) {
  const auto found = std::ranges::find_if(entries, [&](const auto& e) { return e.name == name; });
  if (found != std::end(entries)) return *found;
  std::string known;
  for (const auto& entry : entries) {
    if (!known.empty()) known += ", ";
    known += entry.name;
  }
  throw UsageError("unknown " + std::string(what) + " '" + std::string(name) +
                   "'; known: " + known);
}

}  // namespace

const ScalingEntry& FindScaling(std::string_view name) { return Find(kScalings, name, "scaling"); }
const GridEntry& FindGrid(std::string_view name) { return Find(kGrids, name, "grid"); }
const RoundingEntry& FindRounding(std::string_view name) {
  return Find(kRoundings, name, "rounding");
}

std::vector<std::string> ActivationRangeNames() {
  return {"minmax", "percentile", "mse", "entropy"};
}

std::string ActivationRangeName(const ActivationRange& range) {
  std::string name = ActivationRangeNames()[size_t(range.rule)];
  if (range.rule != ActivationRange::Rule::kPercentile) return name;
  std::ostringstream number;
  number << range.percentile;
  return name + ":" + number.str();
}

Method MethodFromPreset(std::string_view name) {
  const Preset& preset = Find(kPresets, name, "method");
  return {std::string(preset.scaling),
          std::string(preset.grid),
          std::string(preset.rounding),
          preset.refine,
          preset.bias,
          /*shrinkage=*/0.0,
          preset.propagate};
}

std::vector<std::string> MethodPresetNames() { return NamesOf(kPresets); }
std::vector<std::string> ScalingNames() { return NamesOf(kScalings); }
std::vector<std::string> GridNames() { return NamesOf(kGrids); }
std::vector<std::string> RoundingNames() { return NamesOf(kRoundings); }

bool NeedsStatistics(const Method& method) {
  return FindScaling(method.scaling).needs_statistics || FindGrid(method.grid).needs_statistics ||
         FindRounding(method.rounding).needs_statistics || method.refine > 0 ||
         method.bias != BiasCorrection::kNone || method.propagate;
}

}  // namespace ptq
