// Lays out the help of the program and of its commands.
#include "help/help.h"

#include <algorithm>
#include <sstream>

#include "options/declared.h"
#include <sys/ioctl.h>
#include <unistd.h>

#include "ptq/base/letters.h"

namespace ptq {
namespace {

constexpr size_t kUsualWidth = 80, kLeast = 40, kMost = 100;
constexpr size_t kColumn = 26;  ///< where explanations begin
constexpr size_t kNarrow = 60;  ///< below it, they go on lines of their own
constexpr size_t kInline = 22;  ///< longest list of names that a signature shows

size_t Length(std::string_view text) {
  return size_t(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

bool IsNames(const std::string& type) { return type.find('|') != std::string::npos; }

std::string ShownType(const CLI::Option& option) {
  const std::string type = TypeOf(option);
  return IsNames(type) && type.size() > kInline ? "NAME" : type;
}

std::string Row(const std::string& left, const std::string& right, size_t width) {
  const size_t column = width < kNarrow ? 6 : kColumn;
  std::string text = "  " + left;
  size_t used = Length(text);
  if (used + 2 > column) {
    text += '\n';
    used = 0;
  }
  text += std::string(column - used, ' ');
  return text + Wrapped(right, width, column, column) + '\n';
}

}  // namespace

size_t HelpWidth() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kUsualWidth;
  return std::clamp<size_t>(size.ws_col, kLeast, kMost);
}

std::string Wrapped(std::string_view text, size_t width, size_t indent, size_t used) {
  std::string result;
  std::istringstream words{std::string(text)};
  std::string word;
  bool first = true;
  while (words >> word) {
    if (!first && used + 1 + Length(word) > width) {
      result += '\n' + std::string(indent, ' ');
      used = indent;
      first = true;
    }
    if (!first) {
      result += ' ';
      ++used;
    }
    result += word;
    used += Length(word);
    first = false;
  }
  return result;
}

std::string FittedSummary(std::string_view text, size_t width) {
  constexpr size_t kTextColumn = 14;
  std::string result;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line); result += '\n') {
    const std::string name = line.substr(0, line.find("  "));
    const bool is_code = name.empty() || name == "measure it" || name == "load it";
    if (is_code || Length(line) <= width || line.size() < kTextColumn) {
      result += line;
      continue;
    }
    result += line.substr(0, kTextColumn) +
              Wrapped(std::string_view(line).substr(kTextColumn), width, kTextColumn, kTextColumn);
  }
  return result;
}

std::string Signature(const CLI::Option& option) {
  std::string text = option.get_positional() ? Upper(option.get_name(true)) : "";
  const auto add = [&](const std::string& name) { text += (text.empty() ? "" : ", ") + name; };
  for (const std::string& name : option.get_snames()) add("-" + name);
  for (const std::string& name : option.get_lnames()) add("--" + name);
  if (!IsSwitch(option) && option.nonpositional()) text += " " + ShownType(option);
  if (IsList(option)) text += "...";
  return text;
}

std::string Explanation(const CLI::Option& option) {
  std::string text = option.get_description();
  const std::string type = TypeOf(option);
  if (IsNames(type) && type != ShownType(option)) {
    text += "; one of " + CLI::detail::find_and_replace(type, "|", ", ");
  }
  if (IsSwitch(option)) return text;
  if (!option.get_default_str().empty()) text += " (default: " + option.get_default_str() + ")";
  if (option.get_required()) text += " (required)";
  return text;
}

std::string UsageLine(const CLI::App& app) {
  if (app.get_parent() == nullptr) return app.get_name() + " COMMAND [options]";
  std::string text = app.get_parent()->get_name() + " " + app.get_name();
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_positional()) continue;
    const std::string name = Upper(option->get_name(true)) + (IsList(*option) ? "..." : "");
    text += option->get_required() ? " " + name : " [" + name + "]";
  }
  return text + " [options]";
}

std::vector<OptionGroup> OptionGroups(const CLI::App& app) {
  std::vector<OptionGroup> groups;
  const auto group_of = [&](const std::string& name) -> OptionGroup& {
    const auto found = std::ranges::find(groups, name, &OptionGroup::name);
    if (found != groups.end()) return *found;
    return groups.emplace_back(OptionGroup{name, {}});
  };
  const CLI::Option* help = app.get_help_ptr();
  for (const CLI::Option* option : app.get_options()) {
    if (option == help || option->get_group().empty()) continue;
    group_of(option->get_group()).options.push_back(option);
  }
  // A command has it like the other options of all commands.
  if (app.get_parent() == nullptr) group_of(help->get_group()).options.push_back(help);
  return groups;
}

std::string HelpFormatter::make_help(const CLI::App* app, std::string /*name*/,
                                     CLI::AppFormatMode /*mode*/) const {
  std::string text =
      Wrapped(app->get_description() + ".", width_, 0, 0) + "\n\nUsage: " + UsageLine(*app) + '\n';
  const auto commands = app->get_subcommands([](const CLI::App*) { return true; });
  if (!commands.empty()) {
    text += "\nCommands:\n";
    for (const CLI::App* command : commands) {
      if (!command->get_group().empty()) {
        text += Row(command->get_name(), command->get_description(), width_);
      }
    }
  }
  std::vector<OptionGroup> groups = OptionGroups(*app);
  if (app->get_parent() != nullptr) {
    for (OptionGroup& group : OptionGroups(*app->get_parent())) groups.push_back(std::move(group));
  }
  for (const OptionGroup& group : groups) {
    text += '\n' + group.name + ":\n";
    for (const CLI::Option* option : group.options) {
      text += Row(Signature(*option), Explanation(*option), width_);
    }
  }
  if (!app->get_footer().empty()) text += '\n' + app->get_footer() + '\n';
  return text;
}

}  // namespace ptq
