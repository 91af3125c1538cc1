// Finds the LM head by topology: the linear that feeds the logits and nothing else.
#pragma once

#include "ptq/plan/plan.h"

namespace ptq {

/// Whether every path from the linear leads to a graph output through operators that keep positions
/// and classes apart (bias, cast, reshape, soft cap), and it widens (N > K), as a vocabulary does.
[[nodiscard]] bool IsHead(const ExecutionPlan& execution, const Linear& linear);

}  // namespace ptq
