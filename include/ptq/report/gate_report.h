// Says which gates a result has kept, and what it took.
#pragma once

#include <string>

#include "ptq/plan/gate.h"

namespace ptq {

/// A line for each gate, and one for the tensors that got more bits.
[[nodiscard]] std::string GatesText(const GateReport& report);

}  // namespace ptq
