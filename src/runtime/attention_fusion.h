// Finds attention that a graph spells out, and runs it as one step.
#pragma once

#include <vector>

#include "ptq/runtime/execution_plan.h"

namespace ptq {

/// Gives the last product of each MatMul → scale, masks → Softmax → MatMul the work of all of them.
/// The steps before it stay, for whoever asks for one of their values. `constant`: by value; a
/// product with a constant is a linear, not attention.
void FuseAttention(const Graph& graph, const std::vector<bool>& constant, std::vector<Step>& steps);

}  // namespace ptq
