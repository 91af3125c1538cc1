// Whether a run saw enough text.
#pragma once

#include <string>
#include <vector>

#include "ptq/pipeline/run.h"
#include "ptq/plan/plan.h"

namespace ptq {

/// A sentence about the linears that were quantized with what few tokens say, where more would help
/// much (docs/quality.md); empty when there are none.
[[nodiscard]] std::string FewTokensNote(const Plan& plan, const std::vector<Outcome>& outcomes);

}  // namespace ptq
