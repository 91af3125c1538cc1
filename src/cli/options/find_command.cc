// Tells words apart, and joins those of a name.
#include "find_command.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "declared.h"
#include "suggest.h"
#include "values.h"

namespace ptq {
namespace {

/// First words of the names that have two.
std::set<std::string> Families(const CLI::App& app) {
  std::set<std::string> families;
  for (const CLI::App* command : CommandsOf(app)) families.insert(FamilyOf(command->get_name()));
  families.erase("");
  return families;
}

CLI::App* CommandNamed(const CLI::App& app, const std::string& name) {
  const std::vector<CLI::App*> commands = CommandsOf(app);
  const auto found = std::ranges::find_if(
      commands, [&](const CLI::App* command) { return command->get_name() == name; });
  return found == commands.end() ? nullptr : *found;
}

}  // namespace

bool LooksLikeOption(const std::string& word) { return word.size() > 1 && word[0] == '-'; }

OptionWord TakeApart(const std::string& word) {
  const bool is_long = word.starts_with("--");
  const size_t equals = is_long ? word.find('=') : std::string::npos;
  OptionWord parts{word.substr(0, equals), "", std::nullopt};
  parts.name = is_long ? parts.shown.substr(2) : word.substr(1, 1);
  if (is_long) std::ranges::replace(parts.name, '_', '-');
  if (equals != std::string::npos) parts.value = word.substr(equals + 1);
  return parts;
}

std::vector<CLI::App*> CommandsOf(const CLI::App& app) {
  return const_cast<CLI::App&>(app).get_subcommands({});
}

std::string FamilyOf(const std::string& command) {
  const size_t blank = command.find(' ');
  return blank == std::string::npos ? "" : command.substr(0, blank);
}

FoundCommand FindCommand(CLI::App& app, std::vector<std::string>& words) {
  std::vector<CLI::App*> all = CommandsOf(app);
  all.insert(all.begin(), &app);
  for (size_t i = 0; i < words.size(); ++i) {
    std::string& word = words[i];
    if (!LooksLikeOption(word)) {
      const bool more = i + 1 < words.size() && !LooksLikeOption(words[i + 1]);
      if (more && Families(app).contains(word)) {
        word += " " + words[i + 1];
        words.erase(words.begin() + std::ptrdiff_t(i) + 1);
      }
      CLI::App* const command = CommandNamed(app, words[i]);
      return {command, i, command == nullptr ? words[i] : ""};
    }
    const OptionWord parts = TakeApart(word);
    const CLI::Option* option = FindOption(all, parts.name);
    const bool joined = parts.value.has_value() || (word[1] != '-' && word.size() > 2);
    if (option != nullptr && !IsSwitch(*option) && !joined) ++i;
  }
  return {nullptr, words.size(), ""};
}

std::string NoSuchCommand(const CLI::App& app, const std::string& word) {
  std::error_code error;
  if (FamilyOf(word).empty() &&
      (word.ends_with(".onnx") || std::filesystem::is_directory(word, error))) {
    return Quoted(word) + " is no command; did you mean 'quantize run " + word.substr(0, 200) +
           "'?";
  }
  const std::set<std::string> families = Families(app);
  const std::string family = FamilyOf(word);
  const bool known = families.contains(family);
  std::vector<std::string> names;
  for (const CLI::App* command : CommandsOf(app)) {
    const bool hidden = command->get_group().empty();
    if (hidden || (known && FamilyOf(command->get_name()) != family)) continue;
    names.push_back(command->get_name());
  }
  std::vector<std::string> candidates = names;
  if (!known) candidates.insert(candidates.end(), families.begin(), families.end());
  const std::string guess = DidYouMean(word, candidates);
  return "there is no command " + Quoted(word) +
         (guess.empty() ? "; there are " + Joined(names) : guess);
}

}  // namespace ptq
