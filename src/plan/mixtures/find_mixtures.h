// Finds mixtures of experts that a graph spells out in plain operators.
#pragma once

#include <vector>

#include "ptq/plan/plan.h"

namespace ptq {

/// Mixtures whose products are among `linears`: experts as a loop over them is traced, or gathered
/// from stacks for each token. What a mixture computes is found out by running its operators with
/// small products in the place of its weights (MixtureProbe), so nothing is taken for one that only
/// looks like it.
[[nodiscard]] std::vector<Mixture> FindMixtures(const ExecutionPlan& execution,
                                                const std::vector<Linear>& linears);

}  // namespace ptq
