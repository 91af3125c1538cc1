// Shows a plan and what became of it.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "ptq/model/graph.h"
#include "ptq/pipeline/run.h"

namespace ptq {

/// The plan: one line for each linear with its decision, reason, shape and sizes; then totals and
/// the predicted peak memory.
[[nodiscard]] std::string PlanText(const RunReport& report);
[[nodiscard]] nlohmann::ordered_json PlanJson(const RunReport& report);

/// What a run did, in a few lines: destination, sizes, losses, time by part, memory, verification.
[[nodiscard]] std::string SummaryText(const RunReport& report);
[[nodiscard]] nlohmann::ordered_json SummaryJson(const RunReport& report);

}  // namespace ptq
