// Where a model is sensitive: channels that stand out, what each linear loses at each width, and
// how errors grow from layer to layer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/base/ranks.h"
#include "ptq/plan/outcome.h"
#include "ptq/plan/recipe.h"

namespace ptq {

struct AnalysisRequest {
  Recipe recipe;                         ///< source, samples or statistics, bits, groups
  std::filesystem::path result = {};     ///< a result of the source to be compared; empty: none
  std::filesystem::path scratch = {};    ///< directory for statistics that are not given
  std::vector<int> bits = {2, 3, 4, 8};  ///< widths that are tried, ascending
};

/// A linear rounded to nearest without a scale.
struct WidthLoss {
  int bits = 0;
  int64_t bytes = 0;         ///< of codes, scales and zero points
  double relative_loss = 0;  ///< tr(ΔHΔᵀ) / tr(WHWᵀ)
};
struct LinearSensitivity {
  std::string name;
  int64_t n = 0, k = 0;
  int bits = 0;                   ///< that it has in the result, or by the recipe
  std::vector<WidthLoss> widths;  ///< of AnalysisRequest::bits
};

struct SiteSalience {
  std::string site;
  std::vector<std::string> linears;
  int64_t tokens = 0;
  SiteOutcome salience;
};

/// What more bits would be worth.
struct Candidate {
  std::string name;
  int from = 0, to = 0;  ///< bits
  double gain = 0;       ///< of relative loss
  int64_t bytes = 0;     ///< more
  [[nodiscard]] double PerByte() const { return gain / double(bytes); }
};

/// Values that one part of the network hands to the next, of the source and of the result.
struct SegmentError {
  std::string value;          ///< name of one of them
  std::string linear;         ///< the first of the segment's; empty: it has none
  double cosine = 0;          ///< mean over the tokens
  double relative_error = 0;  ///< Σ‖difference‖² / Σ‖value‖²
};

// NOLINTNEXTLINE(bugprone-exception-escape): moving JSON does not throw
struct AnalysisReport {
  nlohmann::ordered_json calibration;
  std::vector<LinearSensitivity> linears;
  std::vector<SiteSalience> sites;
  std::vector<Candidate> candidates;  ///< the largest gain for each byte first
  std::vector<SegmentError> growth;   ///< in the order of the network; empty without a result
  int64_t growth_texts = 0;
};

/// Collects the statistics that the recipe does not name, tries the widths on them, and runs both
/// models on some of the samples. Throws what CollectStatistics and PlanRun throw; InputError for a
/// result whose metadata are of another source.
[[nodiscard]] AnalysisReport Analyze(const AnalysisRequest& request, Ranks& ranks);

}  // namespace ptq
