// Tells which results are likely to disappoint.
#pragma once

#include <string>
#include <vector>

#include "ptq/pipeline/run.h"
#include "ptq/plan/plan.h"

namespace ptq {

/// Of a plan: codes of 2 bits.
[[nodiscard]] std::vector<std::string> WarningsOf(const Plan& plan);

/// Of a result: linears whose output error passes 10 %, the worst by name.
[[nodiscard]] std::vector<std::string> WarningsOf(const Plan& plan,
                                                  const std::vector<Outcome>& outcomes);

}  // namespace ptq
