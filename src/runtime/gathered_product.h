// A product by matrices that are gathered from a stack, run without making them.
#pragma once

#include <vector>

#include "ptq/runtime/execution_plan.h"

namespace ptq {

/// Has each MatMul whose right operand is gathered from a constant stack (FindGathered) read the
/// stack and the indices instead: a matrix is then multiplied with all rows that picked it, and
/// the copies of it that the graph makes, one for each token, never exist. What does not have one
/// matrix for each index runs node by node.
void FuseGatheredProducts(const Graph& graph, const std::vector<bool>& constant,
                          std::vector<Step>& steps);

}  // namespace ptq
