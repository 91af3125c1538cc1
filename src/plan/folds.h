// Finds where the inverse of a site's scale can go without changing the function.
#pragma once

#include "ptq/plan/plan.h"

namespace ptq {

/// The fold of a site: into the producing norm's constants or the producing linear's rows where
/// that is exact, a Mul otherwise. `plan.linears` must be complete.
[[nodiscard]] Fold FindFold(const ExecutionPlan& execution, const Plan& plan, const Site& site);

}  // namespace ptq
