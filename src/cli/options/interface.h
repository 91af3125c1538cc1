// Everything that can be said on the command line, as data: completions, pages and scripts are made
// from it, so that an option is declared once.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace ptq {

/// What can stand where a value is expected.
enum class ValueKind { kNone, kNames, kModel, kFile, kDirectory, kRecipe, kOther };

struct OptionInfo {
  std::vector<std::string> names;     ///< with dashes, short ones first
  std::string positional;             ///< empty: only by name
  ValueKind kind = ValueKind::kNone;  ///< none: a switch
  std::string type;                   ///< N, MODEL …
  std::vector<std::string> choices;   ///< kNames: all of them
  bool list = false;
  bool required = false;
  std::string fallback;  ///< what holds without it
  std::string description;
  std::string group;
};

struct CommandInfo {
  std::string name;  ///< empty: the program itself, with the options of all commands
  std::string description;
  std::string usage;
  std::string examples;
  std::vector<OptionInfo> options;  ///< in the order of the help
};

/// The program and then its commands, without what is hidden.
[[nodiscard]] std::vector<CommandInfo> Interface(const CLI::App& app);
[[nodiscard]] nlohmann::ordered_json ToJson(const std::vector<CommandInfo>& commands);

/// The manual page (man_page.cc), in the macros of man.
[[nodiscard]] std::string ManPage(const std::vector<CommandInfo>& commands);
/// docs/recipe.md (recipe_page.cc): what a recipe file may hold.
[[nodiscard]] std::string RecipePage(const std::vector<CommandInfo>& commands);
/// `text` as one word of a shell.
[[nodiscard]] std::string ShellQuoted(std::string_view text);

}  // namespace ptq
