// Samples on their way through a model: what stands before any statistics.
#pragma once

#include <optional>
#include <vector>

#include "memory_plan.h"
#include "run_context.h"
#include "source.h"

#include "ptq/base/ranks.h"
#include "ptq/pipeline/calibrator.h"
#include "ptq/pipeline/recipe.h"
#include "ptq/plan/plan.h"
#include "ptq/text/calibration.h"

namespace ptq {

struct CalibrationRun {
  CalibrationSet samples;
  Feeder feeder;
  Calibrator calibrator;  ///< of this rank's part
  MemoryPlan memory;      ///< of the rank that has most
};

/// Whether the linears of every site are taken over from another model.
[[nodiscard]] bool NeedsNothing(const Plan& plan, const RunContext& context);

/// Reads the recipe's samples on rank 0, fitted to what the model reads, and gives their ids to all
/// ranks. Throws what ReadSamples throws.
[[nodiscard]] CalibrationSet ReadSamplesFor(const Source& source, const Recipe& recipe,
                                            Ranks& ranks, const RunContext& context);

/// Makes the inputs of one token, and reads the samples where they can be read more than once: what
/// StartCalibration would throw before any work is thrown here.
void TryCalibration(const Source& source, const Recipe& recipe, const RunContext& context);

/// Reads the recipe's samples, on rank 0 alone, and puts each rank's part of them at the entrance
/// of the graph; a part may be empty, and only rank 0 knows where they are from. `scratch` is a
/// directory for activations that do not fit in memory. Throws what ReadSamples and Feeder throw.
/// `method` decides what is observed.
[[nodiscard]] CalibrationRun StartCalibration(const Source& source, const Recipe& recipe,
                                              const Method& method, const Plan& plan,
                                              const std::filesystem::path& scratch, Ranks& ranks,
                                              const RunContext& context);

}  // namespace ptq
