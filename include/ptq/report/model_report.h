// Shows what a model holds.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "ptq/model/graph.h"

namespace ptq {

/// Files with their sizes, inputs, outputs, opsets, operators and weights by type. Needs no kernel:
/// any model can be shown.
[[nodiscard]] nlohmann::ordered_json ModelJson(const Graph& graph);
[[nodiscard]] std::string ModelText(const Graph& graph);
/// The beginning of it: the model's files, inputs and outputs.
[[nodiscard]] nlohmann::ordered_json ModelFrontJson(const Graph& graph);
[[nodiscard]] std::string ModelFrontText(const Graph& graph);

}  // namespace ptq
