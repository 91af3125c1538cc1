// Recipes as files: TOML, JSON by the same keys, or the metadata of a result.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace ptq {

/// The command whose options are a recipe's keys; others take those that they have, too.
inline constexpr char kRecipeCommand[] = "run";

struct RecipeTable;

/// One key and what it is set to.
struct RecipeEntry {
  enum class Kind { kText, kNumber, kBool };
  std::string section;  ///< the command it is for; empty: all that have the option
  std::string key;      ///< as written
  std::vector<std::string> values;
  bool is_list = false;
  Kind kind = Kind::kText;          ///< of the values
  std::string where;                ///< "'recipe.toml' line 3"
  std::vector<RecipeTable> tables;  ///< instead of values: [[key]]
};

/// One table of a list of tables, such as a rule.
struct RecipeTable {
  std::vector<RecipeEntry> entries;
  std::string where;
};

/// Reads a file, the quantization_metadata.json of a directory, or the built-in recipe of that name
/// where no file has it. A key that is null or an empty list is left out: it means the default.
/// Throws InputError when there is no such file, UsageError with file and line for what is not TOML
/// or JSON.
[[nodiscard]] std::vector<RecipeEntry> ReadRecipeFile(const std::filesystem::path& path);

/// The same of a file's content; `name` is for messages. The first is for either form.
[[nodiscard]] std::vector<RecipeEntry> ParseRecipeText(std::string_view text,
                                                       const std::string& name);
[[nodiscard]] std::vector<RecipeEntry> ParseToml(std::string_view text, const std::string& name);
[[nodiscard]] std::vector<RecipeEntry> ParseJsonRecipe(std::string_view text,
                                                       const std::string& name);

}  // namespace ptq
