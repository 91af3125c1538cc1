// Finds the routers of mixtures of experts: linears whose outputs choose, rather than being
// computed with.
#pragma once

#include "ptq/plan/plan.h"

namespace ptq {

/// Whether the linear's outputs are scores of which the largest are picked (TopK, or the router
/// input of a MoE node). A code more or less there sends a token to another expert.
[[nodiscard]] bool IsRouter(const ExecutionPlan& execution, const Linear& linear);

}  // namespace ptq
