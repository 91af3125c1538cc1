// A directory of models that belong together: encoder and decoder, text and vision.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/model/model_forms.h"
#include "ptq/pipeline/run.h"
#include "ptq/plan/recipe.h"

namespace ptq {

/// The models of `source` in the order in which they are quantized: those that its
/// genai_config.json names, or all of it (or of its folder `onnx`) when their names are of parts
/// (encoder_model, decoder_model, text_model, vision_model, embed_tokens …), each in its best form
/// (ChooseForms). `source` itself when it is one model. Throws InputError for a genai_config.json
/// that names models outside of the directory.
[[nodiscard]] ModelChoice ModelFiles(const std::filesystem::path& source);

/// A model among those that may make its inputs.
struct ModelGroup {
  std::vector<std::filesystem::path> files;
  size_t index = 0;  ///< of the model
};

/// The models beside a model's file, in the order of ModelFiles and, as far as there are such, in
/// its form: beside decoder_model_q4.onnx encoder_model_q4.onnx, else encoder_model.onnx. The file
/// alone where the others belong to no group.
[[nodiscard]] ModelGroup GroupOf(const std::filesystem::path& source);

// NOLINTNEXTLINE(bugprone-exception-escape): moving JSON does not throw
struct DirectoryReport {
  std::filesystem::path destination;
  /// What quantization_metadata.json says: under `models` each model's own.
  nlohmann::ordered_json metadata;
  std::vector<FileBytes> bytes;  ///< of each model
  int64_t bytes_before = 0;
  int64_t bytes_after = 0;
  int64_t predicted_peak_bytes = 0;
  int64_t peak_bytes = 0;
  double seconds = 0;
  bool up_to_date = false;         ///< it was there already
  std::optional<GateReport> gate;  ///< of a recipe with gates
};

/// Quantizes every model of a directory, each on inputs that the others make where they can
/// (docs/directories.md). Weights that several hold alike get the same codes and scales. All appear
/// at once, or none. A resumed run does not do finished models again.
[[nodiscard]] DirectoryReport RunDirectory(const Recipe& recipe, const RunOptions& options);

/// The same without its work (RehearseRun): the plan of each model, by file name. A model that
/// would be copied as it is has no linears, and a note why.
[[nodiscard]] std::vector<std::pair<std::string, RunReport>> RehearseDirectory(
    const Recipe& recipe, const RunOptions& options);

}  // namespace ptq
