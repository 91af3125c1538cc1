// What a batch is to do: from a manifest file, or from models, recipes and a template of names.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "ptq/flows/batch.h"

namespace ptq {

/// One model as it is asked for: what is not said is the batch's.
struct BatchModel {
  std::filesystem::path source;
  std::string base;                ///< empty: after the source
  std::string id;                  ///< empty: by the template
  std::vector<std::string> words;  ///< settings of its own
  std::vector<std::string> recipes;
  int64_t bytes = 0;
};

/// The `[[job]]` tables of a TOML or JSON file: `source`, below the file's directory, and, where
/// they differ from the batch's, `recipe`, `base`, `id` and settings of run. Throws UsageError with
/// the line of what is wrong.
[[nodiscard]] std::vector<BatchModel> ReadManifest(const std::filesystem::path& file);

/// Every model with each of its recipes (or of `recipes`, or none). `words`: settings of the batch,
/// which stand over those of recipes; `name`: template of ids with {base}, {recipe}, {method},
/// {bits}, {group}, {head}, {form}. Throws UsageError.
[[nodiscard]] std::vector<BatchJob> ExpandJobs(const std::vector<BatchModel>& models,
                                               const std::vector<std::string>& recipes,
                                               const std::vector<std::string>& words,
                                               const std::string& name);

}  // namespace ptq
