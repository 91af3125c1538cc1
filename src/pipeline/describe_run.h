// What a run's metadata says.
#pragma once

#include <nlohmann/json.hpp>

#include "ptq/emit/metadata.h"
#include "ptq/model/graph.h"
#include "ptq/pipeline/run.h"
#include "ptq/plan/recipe.h"

namespace ptq {

/// The source, the recipe, where statistics come from, and what became of every linear; not yet the
/// files and their verification.
[[nodiscard]] Metadata DescribeRun(const Recipe& recipe, const Graph& graph,
                                   const SourceDescription& source,
                                   const nlohmann::ordered_json& calibration,
                                   const RunReport& report);

}  // namespace ptq
