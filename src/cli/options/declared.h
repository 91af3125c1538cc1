// What the declaration of an option says of it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace ptq {

/// The option of one of the apps with this long name, or this letter; null: none.
[[nodiscard]] CLI::Option* FindOption(std::span<CLI::App* const> apps, const std::string& name);
/// "--bits", of all options that are not hidden.
[[nodiscard]] std::vector<std::string> LongNames(std::span<CLI::App* const> apps);
/// "SRC" or "--bits": how an option is called in a message.
[[nodiscard]] std::string NameOf(const CLI::Option& option);

/// Whether a recipe file may set the option.
[[nodiscard]] bool IsRecipeKey(const CLI::Option& option);
/// Whether the option is a switch: given without a value.
[[nodiscard]] bool IsSwitch(const CLI::Option& option);
/// Whether the option takes any number of values.
[[nodiscard]] bool IsList(const CLI::Option& option);
/// What stands for a value in texts: the type's name, N, 2|3|4|8.
[[nodiscard]] std::string TypeOf(const CLI::Option& option);

}  // namespace ptq
