// Recipes as words of run's command line, for commands that make several of them.
#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "ptq/plan/recipe.h"

namespace ptq {

/// What was given of a recipe's settings to a command that has them (AddRecipeSettings), as words
/// of run's command line: "--bits=3".
[[nodiscard]] std::vector<std::string> GivenWords(const CLI::App& app);

/// The words with another value of one setting, "bits" or "group_size". Throws UsageError for what
/// is none.
[[nodiscard]] std::vector<std::string> WithSetting(std::vector<std::string> words,
                                                   const std::string& key,
                                                   const std::string& value);

/// The recipe that `quantize run` makes of its words. Throws what ParseWords throws.
[[nodiscard]] Recipe ParseRecipe(const std::vector<std::string>& words);

}  // namespace ptq
