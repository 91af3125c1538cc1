// Shows what an analysis has found: text, JSON, and the sections of a page.
#pragma once

#include <cstddef>
#include <string>

#include <nlohmann/json.hpp>

#include "ptq/flows/analysis.h"

namespace ptq {

/// Tables: the linears that lose most and what they lose at each width, those that more bits are
/// worth most for, channels that stand out, and how errors grow; of each the first `top` rows, or
/// all for 0, and of the last always all.
[[nodiscard]] std::string AnalysisText(const AnalysisReport& report, size_t top);
/// `calibration`, `linears`, `candidates`, `sites`, `growth`.
[[nodiscard]] nlohmann::ordered_json AnalysisJson(const AnalysisReport& report);

}  // namespace ptq
