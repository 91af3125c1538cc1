// Finds where the inverse of a site's scale can go without changing the function.
#pragma once

#include "ptq/plan/plan.h"

namespace ptq {

/// The fold of each site: into the producing norm's constants or the producing linear's rows where
/// that is exact, a Mul otherwise. `plan` must be complete but for the folds.
void FindFolds(const ExecutionPlan& execution, Plan& plan);

}  // namespace ptq
