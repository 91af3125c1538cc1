// Shows a plan and what became of it.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "ptq/model/graph.h"
#include "ptq/pipeline/run.h"
#include "ptq/report/linear_order.h"

namespace ptq {

/// The plan: one line for each linear (in `order`) with its decision, reason, shape and sizes; then
/// totals of all, where the bytes will be, and the predicted peak memory.
[[nodiscard]] std::string PlanText(const RunReport& report, const LinearOrder& order = {});
[[nodiscard]] nlohmann::ordered_json PlanJson(const RunReport& report,
                                              const LinearOrder& order = {});

/// One line: the result was there already.
[[nodiscard]] std::string UpToDateText(const std::filesystem::path& destination);

/// What a run did, in a few lines: destination, sizes by part, losses, warnings, time by part,
/// memory, verification, and what to do next.
[[nodiscard]] std::string SummaryText(const RunReport& report);
[[nodiscard]] nlohmann::ordered_json SummaryJson(const RunReport& report);

}  // namespace ptq
