// Finds the narrow cuts of a graph.
#pragma once

#include <vector>

#include "ptq/runtime/execution_plan.h"

namespace ptq {

/// The steps that multiply by a stored matrix, in order.
[[nodiscard]] std::vector<int> FindWeightProducts(const Graph& graph,
                                                  const std::vector<Step>& steps);

/// Cuts where the fewest activations are alive (in a decoder: the residual stream between blocks),
/// at least one weight product in each segment. `constant` and `ambient`: by value number.
[[nodiscard]] std::vector<Segment> CutIntoSegments(const Graph& graph,
                                                   const std::vector<Step>& steps,
                                                   const std::vector<bool>& constant,
                                                   const std::vector<bool>& ambient);

}  // namespace ptq
