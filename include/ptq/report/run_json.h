// What run prints with --json: one shape for a plan and for what became of it
// (docs/json-output.md).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "ptq/pipeline/directory.h"
#include "ptq/pipeline/run.h"

namespace ptq {

/// One model. What only a run knows is null before it (`done` is false).
[[nodiscard]] nlohmann::ordered_json RunJson(const RunReport& report, bool done);

/// The models of a directory: planned, or done. Both have the same keys.
[[nodiscard]] nlohmann::ordered_json DirectoryPlanJson(
    const std::vector<std::pair<std::string, RunReport>>& plans);
[[nodiscard]] nlohmann::ordered_json DirectoryRunJson(const DirectoryReport& report);

}  // namespace ptq
