// The recipes inside the program (data/recipes/*.toml), by name.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace ptq {

struct BuiltInRecipe {
  std::string_view name;
  std::string_view text;  ///< TOML; its first line is a comment
  /// That comment: what it is for, in a sentence.
  [[nodiscard]] std::string_view Description() const;
};

/// In alphabetical order.
[[nodiscard]] std::span<const BuiltInRecipe> BuiltInRecipes();
/// Null: there is none of that name.
[[nodiscard]] const BuiltInRecipe* FindBuiltInRecipe(std::string_view name);

}  // namespace ptq
