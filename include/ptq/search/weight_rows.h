// The weights that a run quantizes, by rows.
#pragma once

#include "ptq/plan/plan.h"
#include "ptq/runtime/executor.h"
#include "ptq/tensor/matrix_rows.h"

namespace ptq {

/// W[N, K] of a linear: where it is stored, or computed as a whole when its elements are not stored
/// as they are.
[[nodiscard]] MatrixRows WeightRows(const Executor& executor, const Linear& linear);

/// Reads everything that a plan gives codes, and lets go of it again. Throws InputError, as
/// quantizing would, for a weight with a NaN, an infinite value or one beyond 1e37. Interruptible.
void CheckFiniteWeights(const Executor& executor, const Plan& plan);

}  // namespace ptq
