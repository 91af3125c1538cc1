// Gets the calibration samples: the file, the tokenizer beside the model, the defaults.
#pragma once

#include "ptq/pipeline/recipe.h"
#include "ptq/text/calibration.h"

namespace ptq {

/// `vocabulary`: number of rows of the model's embedding, 0 where unknown.
/// Throws InputError or UsageError with what to do when text cannot be tokenised.
[[nodiscard]] CalibrationSet ReadSamples(const Recipe& recipe, int64_t vocabulary);

/// The calibration set that is installed with the program. Throws InputError when it is missing.
[[nodiscard]] std::filesystem::path DefaultCalibrationFile();

/// Rows of the table that input_ids index, 0 where the graph does not show it.
[[nodiscard]] int64_t VocabularySize(const Graph& graph);

}  // namespace ptq
