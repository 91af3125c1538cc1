// A rule as people write it: 'PATTERN: bits=8 group=32', or a table of a recipe file.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "recipe_file.h"
#include <CLI/CLI.hpp>

#include "ptq/plan/rules.h"

namespace ptq {

/// The key of rules in recipe files, and their option without its dashes.
inline constexpr char kRuleKey[] = "rule";

/// The accuracy levels that a linear may be given, by name.
[[nodiscard]] std::vector<std::pair<std::string, int>> AccuracyLevels();

/// Throws BadValue for a pattern of names that is malformed.
void CheckPattern(const std::string& pattern);

/// Reads `[MODEL:]PATTERN: key=value key=value`; the settings are behind the last colon that a
/// blank follows. Throws BadValue.
[[nodiscard]] Rule ParseRule(const std::string& text);

/// A table of a recipe file in that notation. Throws UsageError with the line of the key that is
/// wrong.
[[nodiscard]] std::string RuleText(const RecipeTable& table);

/// The text with the place that it is from, for messages of AddRules.
[[nodiscard]] std::string WithPlace(const std::string& text, const std::string& place);
[[nodiscard]] std::string WithoutPlace(const std::string& text);

/// Adds --rule. Texts may have places.
CLI::Option* AddRules(CLI::App& app, std::vector<Rule>& rules);

}  // namespace ptq
