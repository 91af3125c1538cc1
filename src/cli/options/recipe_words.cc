// Writes options that were read as words again, changes one, and reads such words.
#include "recipe_words.h"

#include <algorithm>
#include <array>
#include <memory>

#include "declared.h"
#include "recipe_file.h"
#include "recipe_options.h"
#include "rule_option.h"
#include "suggest.h"
#include "values.h"
#include "words.h"

#include "ptq/base/error.h"

namespace ptq {
namespace {

/// What run makes a recipe of, and nothing else.
struct RecipeParser {
  RecipeParser() {
    AddConfigOption(app);
    CLI::App* const run = app.add_subcommand(kRecipeCommand);
    AddRecipeOptions(*run, recipe);
  }
  CLI::App app{"", "quantize"};
  Recipe recipe;
};

/// The word that gives a switch the value that it has.
std::string SwitchWord(const CLI::Option& option, const std::string& value) {
  for (const std::string& name : option.get_lnames()) {
    for (const char* const text : {"true", "false"}) {
      if (option.get_flag_value(name, text) == value) return "--" + name + "=" + text;
    }
  }
  throw InternalError("no word makes " + option.get_name() + " " + value);
}

bool IsWordOf(const std::string& word, const CLI::Option& option) {
  return std::ranges::any_of(option.get_lnames(), [&](const std::string& name) {
    return word.starts_with("--" + name + "=");
  });
}

}  // namespace

std::vector<std::string> GivenWords(const CLI::App& app) {
  CLI::App settings;
  Recipe unused;
  AddRecipeSettings(settings, unused);
  std::vector<std::string> words;
  const std::array given = {const_cast<CLI::App*>(&app)};
  for (const CLI::Option* known : settings.get_options()) {
    if (known->get_lnames().empty()) continue;
    const std::string& name = known->get_lnames().front();
    const CLI::Option* const option = FindOption(given, name);
    if (option == nullptr) continue;
    for (const std::string& value : option->results()) {
      words.push_back(IsSwitch(*known) ? SwitchWord(*known, value)
                                       : "--" + name + "=" + WithoutPlace(value));
    }
  }
  return words;
}

std::vector<std::string> WithSetting(std::vector<std::string> words, const std::string& key,
                                     const std::string& value) {
  CLI::App settings;
  Recipe unused;
  AddRecipeSettings(settings, unused);
  const std::array all = {&settings};
  const CLI::Option* const option = FindOption(all, Normalized(key));
  if (option == nullptr || key.size() < 2) {
    const std::string guess = DidYouMean("--" + Normalized(key), LongNames(all));
    throw UsageError("run has no option " + Quoted(key) +
                     (guess.empty() ? "; see 'quantize help run'" : guess));
  }
  std::erase_if(words, [&](const std::string& word) {
    return IsWordOf(word, *option) ||
           std::ranges::any_of(option->get_excludes(),
                               [&](const CLI::Option* other) { return IsWordOf(word, *other); });
  });
  words.push_back("--" + Normalized(key) + "=" + value);
  return words;
}

Recipe ParseRecipe(const std::vector<std::string>& words) {
  RecipeParser parser;
  std::vector<std::string> all = {kRecipeCommand};
  all.insert(all.end(), words.begin(), words.end());
  const ParsedWords parsed = ParseWords(parser.app, all);
  CompleteRecipe(*parsed.command, parser.recipe);
  return parser.recipe;
}

}  // namespace ptq
