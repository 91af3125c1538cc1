// Which of several ranks quantizes which site: the same answer on all of them.
#pragma once

#include <vector>

#include "ptq/plan/plan.h"

namespace ptq {

/// The rank that quantizes each site of the plan: in each segment the dearest site goes to the rank
/// that has least to do. Sites of reused weights, which need the statistics of others, go to rank
/// 0.
[[nodiscard]] std::vector<int> SiteOwners(const Plan& plan, int ranks);

}  // namespace ptq
