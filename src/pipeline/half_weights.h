// Weights as a result that stores them as FP16 gives them back.
#pragma once

#include <vector>

#include "ptq/plan/plan.h"
#include "ptq/runtime/executor.h"

namespace ptq {

/// Has a job see the stored weights of some linears rounded to binary16, whoever reads them: a few
/// rows at a time where they are read as rows, else as a whole, in `overrides`.
void AddHalfWeights(const Executor& executor, const Job& job, const std::vector<Linear>& linears,
                    Values& overrides, DeferredWeights& deferred);

}  // namespace ptq
