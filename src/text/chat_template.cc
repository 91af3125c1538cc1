// Finds a template in three files, by name where there are several, and renders messages with it.
#include "ptq/text/chat_template.h"

#include "backend.h"
#include "config_files.h"

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/json.h"

namespace ptq {
namespace {

/// Keeps the order of keys, as Python does: a template may write an object out again.
using OrderedJson = nlohmann::ordered_json;

OrderedJson ParseVariables(std::string_view json, const char* what) {
  OrderedJson parsed = ParseJson<OrderedJson>(json);
  if (parsed.is_discarded()) throw InputError(std::string(what) + ": not valid JSON");
  return parsed;
}

/// `chat_template` is a string or a list of {"name", "template"}.
std::optional<std::string> TemplateIn(const nlohmann::json& config,
                                      const std::filesystem::path& file, const std::string& name) {
  if (!config.contains("chat_template") || config["chat_template"].is_null()) return std::nullopt;
  const nlohmann::json& value = config["chat_template"];
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) {
    throw InputError(file.string() + ": chat_template must be a string or a list");
  }
  std::string known;
  for (const nlohmann::json& entry : value) {
    if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string() ||
        !entry.contains("template") || !entry["template"].is_string()) {
      throw InputError(file.string() + ": chat_template entries need \"name\" and \"template\"");
    }
    if (entry["name"] == name) return entry["template"].get<std::string>();
    known += (known.empty() ? "" : ", ") + entry["name"].get<std::string>();
  }
  throw InputError(file.string() + ": no chat template is named \"" + name +
                   "\" (there are: " + (known.empty() ? "none" : known) + ")");
}

std::optional<std::string> FindTemplate(const std::filesystem::path& directory,
                                        const std::string& name) {
  const std::filesystem::path jinja = directory / "chat_template.jinja";
  if (std::filesystem::exists(jinja)) return ReadTextFile(jinja);
  for (const char* file : {"tokenizer_config.json", "chat_template.json"}) {
    if (auto found = TemplateIn(ReadJsonObject(directory / file), directory / file, name)) {
      return found;
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<ChatTemplate> ChatTemplate::FromDirectory(const std::filesystem::path& directory,
                                                        const std::string& name) {
  auto source = FindTemplate(directory, name);
  if (!source) return std::nullopt;
  return ChatTemplate(*std::move(source), DumpJson(ReadSpecialTokens(directory)));
}

ChatTemplate::ChatTemplate(std::string source, std::string_view variables_json)
    : source_(std::move(source)), variables_json_(variables_json) {
  if (!ParseVariables(variables_json, "chat template variables").is_object()) {
    throw InputError("chat template variables: expected a JSON object");
  }
}

std::string ChatTemplate::Render(std::string_view messages_json, bool add_generation_prompt,
                                 std::string_view extra_json, int64_t now) const {
  OrderedJson messages = ParseVariables(messages_json, "messages");
  const OrderedJson extra = ParseVariables(extra_json, "chat template variables");
  if (!messages.is_array() || !extra.is_object()) {
    throw InputError("chat template: messages must be an array and the variables an object");
  }
  OrderedJson context = ParseVariables(variables_json_, "chat template variables");
  context["messages"] = std::move(messages);
  context["tools"] = nullptr;
  context["documents"] = nullptr;
  context["add_generation_prompt"] = add_generation_prompt;
  context.update(extra);
  return text_backend::RenderChat(source_, DumpJson(context), now);
}

}  // namespace ptq
