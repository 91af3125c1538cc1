// Reads rules key by key, from one line of text or from tables of a recipe file.
#include "rule_option.h"

#include <algorithm>
#include <sstream>
#include <utility>
#include <vector>

#include "suggest.h"
#include "values.h"

#include "ptq/base/error.h"
#include "ptq/emit/linear_form.h"
#include "ptq/quant/method_names.h"

namespace ptq {

std::vector<std::pair<std::string, int>> AccuracyLevels() {
  return {{"auto", kChosenLevel}, {"0", 0}, {"1", 1}, {"2", 2}, {"3", 3}, {"4", 4}};
}

namespace {

/// Stands between a text and its place; nobody types it.
constexpr char kPlaceMark = '\x1f';
constexpr char kExample[] = "write it like '*.down_proj: bits=8 group=32'";

std::vector<std::string> FormNames() {
  std::vector<std::string> names;
  for (const LinearForm* form : LinearForms()) names.emplace_back(form->name());
  names.emplace_back(HalfForm().name());
  names.emplace_back(KeepForm().name());
  return names;
}

std::string OneOf(const std::string& value, const std::vector<std::string>& names) {
  return names[FindName(value, names)];
}

int BitsOf(const std::string& value) {
  static const std::vector<std::string> kNames = {"2", "3", "4", "7", "8"};
  return std::stoi(OneOf(value, kNames));
}

int64_t GroupOf(const std::string& value) {
  static const std::vector<std::string> kNames = {"16", "32", "64", "128", "256", "channel"};
  const std::string name = value == "0" ? "channel" : OneOf(value, kNames);
  return name == "channel" ? 0 : std::stoi(name);
}

bool TruthOf(const std::string& value) {
  static const std::vector<std::string> kNames = {"yes", "no", "true", "false"};
  return FindName(value, kNames) % 2 == 0;
}

int LevelOf(const std::string& value) {
  std::vector<std::string> names;
  for (const auto& [name, level] : AccuracyLevels()) names.push_back(name);
  return AccuracyLevels()[FindName(value, names)].second;
}

/// One key of a rule, and how a value is taken over.
struct RuleKey {
  const char* name;
  void (*set)(Rule& rule, const std::string& value);
};

constexpr RuleKey kKeys[] = {
    {"model", [](Rule& rule, const std::string& value) { rule.model = value; }},
    {"form", [](Rule& rule, const std::string& value) { rule.form = OneOf(value, FormNames()); }},
    {"bits", [](Rule& rule, const std::string& value) { rule.bits = BitsOf(value); }},
    {"group", [](Rule& rule, const std::string& value) { rule.group_size = GroupOf(value); }},
    {"symmetric", [](Rule& rule, const std::string& value) { rule.symmetric = TruthOf(value); }},
    {"accuracy",
     [](Rule& rule, const std::string& value) { rule.accuracy_level = LevelOf(value); }},
    {"method",
     [](Rule& rule, const std::string& value) { rule.method = OneOf(value, MethodPresetNames()); }},
    {"scaling",
     [](Rule& rule, const std::string& value) { rule.scaling = OneOf(value, ScalingNames()); }},
    {"grid", [](Rule& rule, const std::string& value) { rule.grid = OneOf(value, GridNames()); }},
    {"rounding",
     [](Rule& rule, const std::string& value) { rule.rounding = OneOf(value, RoundingNames()); }},
};

void Set(Rule& rule, const std::string& key, const std::string& value) {
  std::vector<std::string> names;
  for (const RuleKey& known : kKeys) {
    names.emplace_back(known.name);
    if (Normalized(key) != known.name) continue;
    try {
      return known.set(rule, value);
    } catch (const BadValue& error) {
      throw BadValue(key + ": " + error.what());
    }
  }
  const std::string guess = DidYouMean(key, names);
  throw BadValue("a rule has no key " + Quoted(key) +
                 (guess.empty() ? "; it has " + Joined(names) : guess));
}

}  // namespace

void CheckPattern(const std::string& pattern) {
  try {
    (void)NamePattern(pattern);
  } catch (const UsageError& error) {
    throw BadValue(error.what());
  }
}

Rule ParseRule(const std::string& text) {
  const size_t colon = text.rfind(": ");
  if (colon == std::string::npos || colon == 0) {
    throw BadValue(Quoted(text) + " is no rule; " + kExample);
  }
  Rule rule;
  rule.pattern = text.substr(0, colon);
  CheckPattern(rule.pattern);
  std::istringstream words(text.substr(colon + 1));
  std::vector<std::string> seen;
  for (std::string word; words >> word;) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == word.size()) {
      throw BadValue(Quoted(word) + " is no key=value; " + kExample);
    }
    const std::string key = Normalized(word.substr(0, equals));
    if (std::ranges::find(seen, key) != seen.end()) {
      throw BadValue(Quoted(key) + " stands twice in " + Quoted(text) + "; keep one");
    }
    Set(rule, key, word.substr(equals + 1));
    seen.push_back(key);
  }
  if (seen.empty()) throw BadValue(Quoted(text) + " sets nothing; " + kExample);
  return rule;
}

std::string RuleText(const RecipeTable& table) {
  std::string pattern, settings;
  Rule rule;
  for (const RecipeEntry& entry : table.entries) {
    if (entry.is_list || !entry.tables.empty()) {
      throw UsageError(entry.where + ": " + Quoted(entry.key) + " takes one value");
    }
    const std::string& value = entry.values.front();
    try {
      if (Normalized(entry.key) == "pattern") {
        CheckPattern(pattern = value);
        continue;
      }
      if (value.empty() || value.find_first_of(" \t\n") != std::string::npos) {
        throw BadValue(Quoted(value) + " is no value of " + Quoted(entry.key));
      }
      Set(rule, entry.key, value);
    } catch (const BadValue& error) {
      throw UsageError(entry.where + ": " + error.what());
    }
    settings += " " + entry.key + "=" + value;
  }
  if (pattern.empty()) {
    throw UsageError(table.where + ": a rule needs a 'pattern' of names that it is for");
  }
  if (settings.empty()) throw UsageError(table.where + ": the rule sets nothing");
  return pattern + ":" + settings;
}

std::string WithPlace(const std::string& text, const std::string& place) {
  return text + kPlaceMark + place;
}

std::string WithoutPlace(const std::string& text) { return text.substr(0, text.find(kPlaceMark)); }

CLI::Option* AddRules(CLI::App& app, std::vector<Rule>& rules) {
  return app
      .add_option_function<std::vector<std::string>>(
          std::string("--") + kRuleKey,
          [&rules](const std::vector<std::string>& texts) {
            rules.clear();
            for (const std::string& given : texts) {
              const size_t mark = given.find(kPlaceMark);
              const std::string where =
                  mark == std::string::npos ? "--rule" : given.substr(mark + 1);
              try {
                rules.push_back(ParseRule(given.substr(0, mark)));
              } catch (const BadValue& error) {
                throw UsageError(where + ": " + error.what());
              }
              rules.back().where = where;
            }
          },
          "Another form, bits or method for linears and tables whose name matches; the first rule "
          "that matches counts: 'PATTERN: bits=8 group=32 form=qdq'")
      ->type_name("RULE")
      ->allow_extra_args(false);
}

}  // namespace ptq
