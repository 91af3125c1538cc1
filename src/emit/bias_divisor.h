// What the bias of a linear is divided by whose rows take the inverse of a scale.
#pragma once

#include <span>
#include <vector>

#include "ptq/plan/plan.h"

namespace ptq {

/// Per element of the bias: the scale of the channels that its row feeds; 1 for rows that feed
/// none. The site's fold is of kind kLinearRows. Throws InternalError when a row feeds channels of
/// different scales.
[[nodiscard]] std::vector<float> BiasDivisor(const Plan& plan, const Site& site,
                                             std::span<const float> scale);

}  // namespace ptq
