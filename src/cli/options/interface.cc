// Collects what the commands have declared.
#include "interface.h"

#include <sstream>

#include "declared.h"
#include "help/help.h"
#include "values.h"

namespace ptq {
namespace {

ValueKind KindOf(const CLI::Option& option) {
  if (IsSwitch(option)) return ValueKind::kNone;
  const std::string type = TypeOf(option);
  if (type.find('|') != std::string::npos) return ValueKind::kNames;
  if (type == kModelType) return ValueKind::kModel;
  if (type == kFileType) return ValueKind::kFile;
  if (type == kRecipeType) return ValueKind::kRecipe;
  return type == kDirectoryType ? ValueKind::kDirectory : ValueKind::kOther;
}

OptionInfo Describe(const CLI::Option& option, const std::string& group) {
  OptionInfo info;
  for (const std::string& name : option.get_snames()) info.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) info.names.push_back("--" + name);
  if (option.get_positional()) info.positional = option.get_name(true);
  info.kind = KindOf(option);
  if (info.kind != ValueKind::kNone) info.type = TypeOf(option);
  if (info.kind == ValueKind::kNames) info.choices = CLI::detail::split(info.type, '|');
  info.list = IsList(option);
  info.required = option.get_required();
  if (info.kind != ValueKind::kNone) info.fallback = option.get_default_str();
  info.description = option.get_description();
  info.group = group;
  return info;
}

CommandInfo Describe(const CLI::App& app) {
  CommandInfo info;
  if (app.get_parent() != nullptr) info.name = app.get_name();
  info.description = app.get_description();
  info.usage = UsageLine(app);
  info.examples = app.get_footer();
  for (const OptionGroup& group : OptionGroups(app)) {
    for (const CLI::Option* option : group.options) {
      info.options.push_back(Describe(*option, group.name));
    }
  }
  return info;
}

}  // namespace

std::vector<CommandInfo> Interface(const CLI::App& app) {
  std::vector<CommandInfo> commands = {Describe(app)};
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!command->get_group().empty()) commands.push_back(Describe(*command));
  }
  return commands;
}

nlohmann::ordered_json ToJson(const std::vector<CommandInfo>& commands) {
  using Json = nlohmann::ordered_json;
  Json list = Json::array();
  for (const CommandInfo& command : commands) {
    Json options = Json::array();
    for (const OptionInfo& option : command.options) {
      const auto or_null = [](const std::string& text) {
        return text.empty() ? Json() : Json(text);
      };
      options.push_back({{"names", option.names},
                         {"positional", or_null(option.positional)},
                         {"value", or_null(option.choices.empty() ? option.type : "NAME")},
                         {"choices", option.choices.empty() ? Json() : Json(option.choices)},
                         {"default", or_null(option.fallback)},
                         {"list", option.list},
                         {"required", option.required},
                         {"group", option.group},
                         {"description", option.description}});
    }
    list.push_back({{"name", command.name},
                    {"description", command.description},
                    {"usage", command.usage},
                    {"examples", command.examples},
                    {"options", std::move(options)}});
  }
  return {{"commands", std::move(list)}};
}

std::string ShellQuoted(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace ptq
