// A run up to the point where its work begins.
#pragma once

#include "run_context.h"

#include "ptq/calibrate/source.h"
#include "ptq/pipeline/run.h"
#include "ptq/plan/recipe.h"

namespace ptq {

/// Completes a report that was started: sizes, memory, notes. Throws what a run would throw before
/// it searches the first weight, and InputError for a weight that it would refuse on the way. Of a
/// model of a directory, nothing is said of the destination.
void Rehearse(const Recipe& recipe, Source& source, const RunOptions& options,
              const RunContext& context, RunReport& report);

}  // namespace ptq
