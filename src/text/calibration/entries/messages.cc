// Makes messages of role and content of the forms that data sets give conversations.
#include <array>
#include <optional>
#include <utility>

#include "entry.h"

#include "ptq/base/error.h"
#include "ptq/base/json.h"
#include "ptq/base/letters.h"

namespace ptq {
namespace {

/// ShareGPT's names, and others', for the roles that chat templates know.
std::string RoleNamed(const std::string& name) {
  static constexpr std::pair<std::string_view, const char*> kRoles[] = {
      {"human", "user"},        {"prompter", "user"},
      {"gpt", "assistant"},     {"chatgpt", "assistant"},
      {"bot", "assistant"},     {"model", "assistant"},
      {"ai", "assistant"},      {"bing", "assistant"},
      {"bard", "assistant"},    {"function_call", "assistant"},
      {"observation", "tool"},  {"function_response", "tool"},
      {"tool_response", "tool"}};
  for (const auto& [from, role] : kRoles) {
    if (Lower(name) == from) return role;
  }
  return name;
}

/// The first of the members that is there; null: none.
const OrderedJson* FirstOf(const OrderedJson& object, std::span<const char* const> names) {
  for (const char* name : names) {
    if (const auto found = object.find(name); found != object.end()) return &*found;
  }
  return nullptr;
}

/// {"user": "…"} or {"human": "…"}: the role is the name.
std::optional<OrderedJson> WithRoleAsName(const OrderedJson& message) {
  for (const char* name : {"user", "human", "assistant", "gpt", "bot", "system"}) {
    if (!message.contains(name) || !message[name].is_string()) continue;
    return OrderedJson{{"role", RoleNamed(name)}, {"content", message[name]}};
  }
  return std::nullopt;
}

OrderedJson MessageOf(const OrderedJson& message, size_t place, const Where& where) {
  static constexpr const char* kRole[] = {"role", "from", "speaker", "author"};
  static constexpr const char* kContent[] = {"content", "value", "text", "message"};
  if (message.is_string()) {
    return {{"role", place % 2 == 0 ? "user" : "assistant"}, {"content", message}};
  }
  if (message.is_object()) {
    const OrderedJson* const role = FirstOf(message, kRole);
    const OrderedJson* const content = FirstOf(message, kContent);
    if (role != nullptr && role->is_string()) {
      OrderedJson made = message;
      for (const char* name : kRole) made.erase(name);
      OrderedJson result = {{"role", message.contains("role")
                                         ? role->get<std::string>()
                                         : RoleNamed(role->get<std::string>())}};
      if (content != nullptr) result["content"] = *content;
      for (const char* name : kContent) made.erase(name);
      result.update(made);
      return result;
    }
    if (auto named = WithRoleAsName(message)) return *std::move(named);
  }
  throw InputError(where +
                   ": each message needs \"role\" and \"content\" (or \"from\" and "
                   "\"value\")");
}

}  // namespace

OrderedJson MessagesOf(const OrderedJson& value, const std::string& name, const Where& where) {
  const OrderedJson unpacked =
      value.is_string() ? ParseJson<OrderedJson>(value.get_ref<const std::string&>()) : value;
  if (!unpacked.is_array()) throw InputError(where + ": \"" + name + "\" must be an array");
  OrderedJson messages = OrderedJson::array();
  for (const OrderedJson& message : unpacked) {
    messages.push_back(MessageOf(message, messages.size(), where));
  }
  return messages;
}

}  // namespace ptq
