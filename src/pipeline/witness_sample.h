// Samples as a model reads them: to verify a result with, and to see values of.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "run_context.h"

#include "ptq/calibrate/calibration_run.h"
#include "ptq/calibrate/model_inputs.h"
#include "ptq/calibrate/source.h"
#include "ptq/plan/recipe.h"
#include "ptq/runtime/executor.h"
#include "ptq/runtime/feeds.h"
#include "ptq/text/batching.h"
#include "ptq/text/calibration.h"

namespace ptq {

/// The beginning of the longest of some samples: enough tokens for every kernel to see several
/// rows, few enough for their logits to be small.
[[nodiscard]] TokenBlock BeginningOfLongest(std::span<const std::vector<int64_t>> samples);

/// The same sample in the shape that a model fixes: cut or repeated, each row the same.
[[nodiscard]] TokenBlock Fitted(TokenBlock block, TokenShape fixed);

/// A short sample for models that were not calibrated.
[[nodiscard]] TokenBlock AnySample(int64_t vocabulary);

/// The model's inputs for one of these. `calibration`: null when there is none. Throws
/// UnsupportedError naming an input that nobody can make.
[[nodiscard]] Values WitnessInputs(const Source& source, const CalibrationRun* calibration,
                                   const ModelInputs& inputs);

/// The model's inputs for samples, and what these are.
struct SampledInputs {
  std::vector<Values> inputs;
  int64_t tokens = 0;
  int64_t longest = 0;               ///< sample, in tokens
  CalibrationProvenance provenance;  ///< of all samples
};

/// The model's inputs for the samples of the recipe, one after the other up to `most_tokens`, but
/// at least one. Throws what ReadSamples and Feeder throw.
[[nodiscard]] SampledInputs SampleInputs(const Source& source, const Recipe& recipe,
                                         const RunContext& context, int64_t most_tokens);

}  // namespace ptq
