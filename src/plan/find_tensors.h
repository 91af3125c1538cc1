// Finds the tensors of weights that no linear multiplies with.
#pragma once

#include <vector>

#include "ptq/plan/plan.h"

namespace ptq {

/// Constants of which rows are looked up, by a Gather that is no linear's or by an operator with
/// embeddings inside; directly, or behind operators that move or convert elements.
[[nodiscard]] std::vector<Table> FindTables(const ExecutionPlan& execution, const Plan& plan);

/// The others. `plan` has its linears, decided, its tables and its quantized filters.
[[nodiscard]] std::vector<Constant> FindConstants(const ExecutionPlan& execution, const Plan& plan);

/// Whether a constant may have another type behind a Cast: some operators (quantized ones, Resize)
/// need it in place, and graph outputs keep their type.
[[nodiscard]] bool MayChangeType(const Graph& graph, ValueId constant);

}  // namespace ptq
