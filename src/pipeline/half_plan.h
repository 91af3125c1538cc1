// What a conversion to FP16 means for a plan, and which values are too large for it.
#pragma once

#include "run_context.h"

#include "ptq/calibrate/source.h"
#include "ptq/pipeline/run.h"
#include "ptq/plan/recipe.h"

namespace ptq {

/// Gives every subject of a plan that computes in FP16 the form that it will have, with the reason
/// where it stays, and every quantized linear the type of its activations. The report's islands and
/// their notes become those of the plan.
void DecideHalves(const Source& source, RunReport& report);

/// Runs the model on samples, or on a sample that is made up, and notes in the plan which values
/// came beyond kLargestSeen. Where the model cannot run a note says so.
void ObserveLargeValues(const Source& source, const Recipe& recipe, const RunContext& context,
                        RunReport& report);
/// The same without running anything: throws what it would throw for samples that cannot be read.
void TryObserving(const Source& source, const Recipe& recipe, const RunContext& context,
                  RunReport& report);

}  // namespace ptq
