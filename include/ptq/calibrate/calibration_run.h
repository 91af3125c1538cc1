// Samples on their way through a model: what stands before any statistics.
#pragma once

#include <filesystem>
#include <vector>

#include "ptq/base/ranks.h"
#include "ptq/calibrate/calibrator.h"
#include "ptq/calibrate/memory_plan.h"
#include "ptq/calibrate/model_inputs.h"
#include "ptq/calibrate/source.h"
#include "ptq/plan/plan.h"
#include "ptq/plan/recipe.h"
#include "ptq/text/calibration.h"

namespace ptq {

struct CalibrationRun {
  CalibrationSet samples;
  Feeder feeder;
  Calibrator calibrator;  ///< of this rank's part
  MemoryPlan memory;      ///< of the rank that has most
};

/// Reads the recipe's samples on rank 0, fitted to what the model reads, and gives their ids to all
/// ranks. Throws what ReadSamples throws.
[[nodiscard]] CalibrationSet ReadSamplesFor(const Source& source, const Recipe& recipe,
                                            Ranks& ranks, const ModelInputs& inputs);

/// Whether the samples come from standard input or a pipe, which nobody can look at first.
[[nodiscard]] bool SamplesCanBeReadOnce(const Recipe& recipe);

/// Makes the inputs of one token, and reads the samples where they can be read more than once: what
/// StartCalibration would throw before any work is thrown here.
void TryCalibration(const Source& source, const Recipe& recipe, const ModelInputs& inputs);

/// What is to be calibrated, and for what.
struct CalibrationRequest {
  const Source& source;
  const Recipe& recipe;
  const Method& method;  ///< decides what is observed
  const Plan& plan;
  /// For activations that do not fit in memory.
  std::filesystem::path scratch;
  std::vector<bool> taken = {};  ///< sites that need no statistics; empty: none
  bool warm = false;             ///< CalibrationSize::warm
  bool ranges = false;           ///< of activations are needed
};

/// Reads the recipe's samples, on rank 0 alone, and puts each rank's part of them at the entrance
/// of the graph; a part may be empty, and only rank 0 knows where they are from. Throws what
/// ReadSamples and Feeder throw.
[[nodiscard]] CalibrationRun StartCalibration(const CalibrationRequest& request, Ranks& ranks,
                                              const ModelInputs& inputs);

}  // namespace ptq
