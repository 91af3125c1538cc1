// Gets token ids to run a model on: the file, the tokenizer beside the model, the defaults.
#pragma once

#include <filesystem>

#include "ptq/model/graph.h"
#include "ptq/text/calibration.h"

namespace ptq {

/// Reads `options.file` (empty: the set installed with the program) with the tokenizer at
/// `tokenizer` (empty: beside `model`), and checks ids against the model's vocabulary.
/// Throws InputError or UsageError with what to do when text cannot be tokenised.
[[nodiscard]] CalibrationSet ReadSamples(CalibrationOptions options,
                                         const std::filesystem::path& model,
                                         const std::filesystem::path& tokenizer,
                                         int64_t vocabulary);

/// Rows of the table that input_ids index, 0 where the graph does not show it.
[[nodiscard]] int64_t VocabularySize(const Graph& graph);

}  // namespace ptq
