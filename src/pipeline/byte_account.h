// Counts the bytes of a plan and its result, in one place for dry runs and runs.
#pragma once

#include "ptq/calibrate/source.h"
#include "ptq/pipeline/run.h"
#include "ptq/plan/recipe.h"

namespace ptq {

/// Fills in the report's `bytes` and `savings` from its plan, outcomes and `bytes_before`. With
/// `bytes_after` (not 0) the parts add up to the written files, else to the predicted ones. An
/// option is worth saying when it saves 2 % of the result or more.
void AccountFor(const Source& source, const Recipe& recipe, RunReport& report);

}  // namespace ptq
