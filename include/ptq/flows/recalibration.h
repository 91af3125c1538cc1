// A result made again for other texts, when these differ enough from those that it was made for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/flows/make_result.h"
#include "ptq/plan/recipe.h"
#include "ptq/stats/statistics_drift.h"

namespace ptq {

struct RecalibrationRequest {
  std::filesystem::path result;             ///< a directory or a single file
  Recipe recipe;                            ///< its own, with source, new samples and destination
  std::filesystem::path statistics_before;  ///< of the samples that it was made for; empty: none
  std::vector<std::filesystem::path> samples_before;  ///< those samples; empty: the built-in ones
  std::optional<double> if_drift;  ///< nothing is made when the drift is not above
  bool dry_run = false;            ///< nothing is made in any case
};

/// What other texts change at a site.
struct SiteDrift {
  std::string site;
  std::string linears;  ///< names, with commas
  StatisticsDrift statistics;
  /// Of the linears' output energy, mean: what codes for the texts before lose on these; what codes
  /// for the new texts lose on those. Equal: nothing is to be gained.
  double loss_before_on_before = 0;  ///< codes and texts of before
  double loss_before = 0;            ///< codes of before, new texts
  double loss_now = 0;               ///< codes for the new texts, new texts
};

struct RecalibrationReport {
  /// Why drift is not known; then a result is made in any case.
  std::string unknown;
  std::vector<SiteDrift> sites;
  /// How much more the codes of before lose on the new texts than codes for these: Σ ÷ Σ − 1.
  double drift = 0;
  double mean_abs = 0;  ///< mean of the sites'
  double subspace = 0;
  bool needed = true;  ///< the drift is above what was asked for
  std::optional<MadeResult> made;
};

/// Throws InputError when the source, or the samples of before, are not those of the result;
/// UsageError for a method that looks at no samples; and what MakeResult throws.
[[nodiscard]] RecalibrationReport Recalibrate(const RecalibrationRequest& request);

}  // namespace ptq
