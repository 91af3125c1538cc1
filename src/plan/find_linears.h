// Recognises the nodes that multiply an activation by a constant matrix.
#pragma once

#include <vector>

#include "ptq/plan/plan.h"

namespace ptq {

/// Every node that looks like a linear, in graph order. Those that cannot be quantized come with
/// the reason in its decision.
[[nodiscard]] std::vector<Linear> FindLinears(const ExecutionPlan& execution);

}  // namespace ptq
