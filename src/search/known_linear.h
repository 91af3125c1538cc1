// A linear whose weight lies on a grid: its codes, and what they lose.
#pragma once

#include <memory>
#include <utility>

#include "ptq/plan/outcome.h"
#include "ptq/plan/plan.h"
#include "ptq/quant/spec.h"
#include "ptq/runtime/executor.h"

namespace ptq {

/// KnownCodes, and an outcome with ‖Δ‖² as both losses, since nothing was searched. It is 0, or
/// what the source has rounded away when it stored the weight.
[[nodiscard]] std::pair<std::shared_ptr<const QuantizedMatrix>, Outcome> TakeKnownCodes(
    const Executor& executor, const Linear& linear);

}  // namespace ptq
