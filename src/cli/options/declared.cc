// Asks CLI11 for names, kinds and types of options.
#include "declared.h"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "ptq/base/letters.h"

namespace ptq {

CLI::Option* FindOption(std::span<CLI::App* const> apps, const std::string& name) {
  for (CLI::App* app : apps) {
    for (CLI::Option* option : app->get_options()) {
      const auto& names = name.size() == 1 ? option->get_snames() : option->get_lnames();
      if (std::ranges::find(names, name) != names.end()) return option;
    }
  }
  return nullptr;
}

std::vector<std::string> LongNames(std::span<CLI::App* const> apps) {
  std::vector<std::string> names;
  for (const CLI::App* app : apps) {
    for (const CLI::Option* option : app->get_options()) {
      if (option->get_group().empty()) continue;  // hidden
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  }
  return names;
}

std::string NameOf(const CLI::Option& option) {
  return option.get_positional() ? Upper(option.get_name(true)) : option.get_name();
}

bool IsRecipeKey(const CLI::Option& option) {
  static constexpr std::string_view kOthers[] = {"--help", "--version", "--config"};
  return !option.get_group().empty() && option.nonpositional() &&
         std::ranges::find(kOthers, option.get_name()) == std::end(kOthers);
}

bool IsSwitch(const CLI::Option& option) { return option.get_items_expected_max() == 0; }

bool IsList(const CLI::Option& option) { return option.get_items_expected_max() > 1; }

std::string TypeOf(const CLI::Option& option) {
  if (!option.get_option_text().empty()) return option.get_option_text();
  const std::string type = option.get_type_name();
  return type == "TEXT" ? "VALUE" : type;
}

}  // namespace ptq
