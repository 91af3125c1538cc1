// What the files of a result will measure, before there are any codes.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ptq/emit/output_model.h"
#include "ptq/plan/recipe.h"

namespace ptq {

/// What of that which calibration decides is in a draft.
enum class Undecided {
  kNothing,     ///< no scale is found that pays, and no bias
  kEverything,  ///< every site is scaled by as many nodes and tensors as may be, and has biases
};

/// Edits a copy of the graph as a run of this plan would, in the same order, and measures the
/// files: no weight is read, nothing written. `properties`: the model's metadata. Where a run has
/// nothing to decide it writes exactly these bytes. Throws what a run would throw when it begins or
/// ends to write, all that does not depend on the values of codes and scales.
[[nodiscard]] FileSizes DraftFiles(
    const Graph& graph, const Plan& plan, const OutputFiles& files, const Recipe& recipe,
    const std::vector<std::pair<std::string, std::string>>& properties, Undecided undecided);

}  // namespace ptq
