// Shows what an evaluation has measured.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "ptq/flows/evaluation.h"

namespace ptq {

/// For people: one figure a line; of a directory of models each one's first.
[[nodiscard]] std::string EvalText(const Evaluation& evaluation);
/// What docs/quantize-output.schema.json says of an evaluation, but for what was asked for.
[[nodiscard]] nlohmann::ordered_json EvalJson(const Evaluation& evaluation);

}  // namespace ptq
