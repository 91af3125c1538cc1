// Filters of convolutions in codes, which are found on the weight alone.
#pragma once

#include "ptq/model/graph.h"
#include "ptq/plan/outcome.h"
#include "ptq/plan/plan.h"
#include "ptq/quant/spec.h"
#include "ptq/runtime/executor.h"

namespace ptq {

/// A row of codes for each output channel, on the searched grid. They come out the same whenever
/// they are asked for. Their losses are added to `sums`, unless that is null. Throws InputError
/// when a weight is not finite.
[[nodiscard]] QuantizedMatrix FilterCodes(const Graph& graph, const Constant& filters,
                                          Outcome* sums = nullptr);

/// What stands for a plan's quantized filters in the original graph.
[[nodiscard]] DeferredWeights FilterOperands(const Graph& graph, const Plan& plan);

}  // namespace ptq
