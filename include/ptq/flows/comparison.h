// Two results, or two models, side by side: recipe, size, every tensor, and quality.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/evaluate/figures.h"

namespace ptq {

struct ComparisonRequest {
  /// Results, metadata files, .onnx files or directories of models.
  std::array<std::filesystem::path, 2> sides;
  std::filesystem::path text;       ///< to measure both on; empty: nothing is run
  std::filesystem::path reference;  ///< model that both are measured beside; empty: B beside A
  std::filesystem::path tokenizer;
};

/// One side of a comparison.
// NOLINTNEXTLINE(bugprone-exception-escape): moving JSON does not throw
struct ComparedModel {
  std::filesystem::path path;
  int64_t bytes = 0;              ///< of the model's files
  nlohmann::ordered_json recipe;  ///< null for what is no result of this program
  nlohmann::ordered_json source;  ///< what it was made of: file and hash; null: the same
  std::vector<Figure> figures;    ///< measured on the text
};

/// What a tensor is on one side.
struct TensorState {
  std::string form;  ///< "4 bits, g128", "float16", "fp16"
  int64_t bytes = 0;
  std::optional<double> relative_loss;  ///< of its output energy, where that was measured
};

struct ComparedTensor {
  std::string name;  ///< of a part of several models, with the part's name in front
  std::array<std::optional<TensorState>, 2> states;  ///< absent where a side has no such tensor

  [[nodiscard]] bool differs() const;
};

/// A key of the recipes with another value.
// NOLINTNEXTLINE(bugprone-exception-escape): moving JSON does not throw
struct RecipeChange {
  std::string key;
  std::array<nlohmann::ordered_json, 2> values;  ///< null: not said
};

// NOLINTNEXTLINE(bugprone-exception-escape): moving JSON does not throw
struct Comparison {
  std::array<ComparedModel, 2> sides;
  std::optional<bool> same_source;  ///< absent where one is no result
  std::vector<RecipeChange> recipe;
  std::vector<ComparedTensor> tensors;  ///< linears and tables, in A's order; then what only B has
};

/// Reads both sides, and runs them where there is a text. Throws InputError for what is neither a
/// result nor a model, and what EvaluateModel throws.
[[nodiscard]] Comparison CompareModels(const ComparisonRequest& request);

}  // namespace ptq
