// Tries a conversation as it is, then what its template may have meant to be given.
#include "conversation.h"

#include <algorithm>
#include <utility>

#include "lines.h"

#include "ptq/base/error.h"
#include "ptq/base/json.h"
#include "ptq/text/chat_template.h"

namespace ptq {
namespace {

OrderedJson ContentOf(const OrderedJson& message) {
  return message.value("content", OrderedJson());
}

bool HasParts(const OrderedJson& messages) {
  return std::ranges::any_of(messages, [](const auto& m) { return ContentOf(m).is_array(); });
}

std::string PlainConversation(const OrderedJson& messages) {
  std::string text;
  for (const OrderedJson& message : messages) {
    if (!text.empty()) text += '\n';
    text += message["role"].get<std::string>() + ": " + ContentText(ContentOf(message));
  }
  return text;
}

std::string PlainExchange(const OrderedJson& messages) {
  std::string text;
  for (const OrderedJson& message : messages) {
    text += (text.empty() ? "" : "\n\n") + ContentText(ContentOf(message));
  }
  return text;
}

/// Text in the place of parts.
OrderedJson Flattened(OrderedJson messages) {
  for (OrderedJson& message : messages) {
    if (ContentOf(message).is_array()) message["content"] = ContentText(message["content"]);
  }
  return messages;
}

/// Parts in the place of text, for templates that loop over them.
OrderedJson InParts(OrderedJson messages) {
  for (OrderedJson& message : messages) {
    if (!ContentOf(message).is_string()) continue;
    OrderedJson part = {{"type", "text"}, {"text", message["content"]}};
    message["content"] = OrderedJson::array({std::move(part)});
  }
  return messages;
}

/// Some templates know no system role; its words then lead the first user message, which is what
/// those models' own documentation advises. Empty when there is nothing to merge.
std::optional<OrderedJson> WithSystemMerged(const OrderedJson& messages) {
  if (messages.size() < 2 || messages[0]["role"] != "system" || messages[1]["role"] != "user") {
    return std::nullopt;
  }
  OrderedJson merged = messages;
  merged.erase(merged.begin());
  merged[0]["content"] =
      ContentText(ContentOf(messages[0])) + "\n\n" + ContentText(ContentOf(messages[1]));
  return merged;
}

/// Templates that want turns, the user's first: what can be kept of the conversation.
std::optional<OrderedJson> WithTurns(const OrderedJson& messages) {
  OrderedJson kept = OrderedJson::array();
  for (const OrderedJson& message : messages) {
    const std::string role = message["role"].get<std::string>();
    if (role == "system" && kept.empty()) kept.push_back(message);
    const bool first = kept.empty() || kept.back()["role"] == "system";
    if (role == (first || kept.back()["role"] == "assistant" ? "user" : "assistant")) {
      kept.push_back(message);
    }
  }
  const bool none = kept.empty() || kept.back()["role"] == "system" || kept == messages;
  return none ? std::nullopt : std::optional(std::move(kept));
}

/// Whether a list of parts was written out as a list.
bool ShowsParts(const std::string& text, const OrderedJson& messages) {
  const auto count = [](const std::string& where, const char* what) {
    size_t found = 0;
    for (size_t at = where.find(what); at != std::string::npos; at = where.find(what, at + 1)) {
      ++found;
    }
    return found;
  };
  std::string given;
  for (const OrderedJson& message : messages) given += ContentText(ContentOf(message));
  return count(text, "\"type\":") > count(given, "\"type\":") ||
         count(text, "'type':") > count(given, "'type':");
}

/// Whether the last words of the user are in the text; templates may trim them.
bool ShowsContent(const std::string& text, const OrderedJson& messages) {
  for (size_t i = messages.size(); i-- > 0;) {
    if (messages[i]["role"] != "user") continue;
    const std::string content = ContentText(ContentOf(messages[i]));
    const size_t begin = content.find_first_not_of(kBlank);
    if (begin == std::string::npos) return true;
    const size_t end = content.find_last_not_of(kBlank) + 1;
    return text.find(content.substr(begin, std::min<size_t>(end - begin, 64))) != std::string::npos;
  }
  return true;
}

}  // namespace

std::string ContentText(const OrderedJson& content) {
  if (content.is_string()) return content.get<std::string>();
  std::string text;
  if (!content.is_array()) return text;
  for (const OrderedJson& part : content) {
    if (part.is_string()) {
      text += part.get<std::string>();
    } else if (part.is_object() && part.contains("text") && part["text"].is_string()) {
      text += part["text"].get<std::string>();
    }
  }
  return text;
}

std::optional<std::string> ConversationWriter::Write(const OrderedJson& messages, bool chat,
                                                     const Where& where) {
  if (messages.empty()) return "";
  ++written_;
  if (chat_template_ == nullptr) {
    if (!chat) return PlainExchange(messages);
    ++plain_;
    return PlainConversation(messages);
  }
  refusal_.clear();
  if (auto text = Try(messages)) return text;
  const std::string refusal = refusal_;
  if (const auto merged = WithSystemMerged(messages)) {
    if (auto text = Try(*merged)) {
      ++merged_;
      return text;
    }
  }
  const auto turns = WithTurns(WithSystemMerged(messages).value_or(messages));
  if (auto text = turns ? Try(*turns) : std::nullopt) {
    ++shortened_;
    return text;
  }
  if (refused_++ == 0)
    first_ = where + ": the chat template refuses the messages (" + refusal + ")";
  return std::nullopt;
}

/// In the form that is given, else in the other.
std::optional<std::string> ConversationWriter::Try(const OrderedJson& messages) {
  const bool parts = HasParts(messages);
  auto text = Render(messages);
  if (text && !(parts && ShowsParts(*text, messages)) && ShowsContent(*text, messages)) return text;
  const OrderedJson others = parts ? Flattened(messages) : InParts(messages);
  auto other = Render(others);
  if (other && ShowsContent(*other, messages) && !ShowsParts(*other, messages)) {
    flattened_ += parts ? 1 : 0;
    return other;
  }
  return parts && text && ShowsParts(*text, messages) ? other : text;
}

std::optional<std::string> ConversationWriter::Render(const OrderedJson& messages) {
  try {
    return chat_template_->Render(DumpJson(messages));
  } catch (const InputError& error) {
    if (refusal_.empty()) refusal_ = error.what();
    return std::nullopt;
  }
}

std::vector<std::string> ConversationWriter::Notes() const {
  if (refused_ > 0 && 2 * refused_ >= written_) throw InputError(first_);
  std::vector<std::string> notes;
  const auto add = [&](int64_t count, const std::string& before, const std::string& behind) {
    if (count > 0) notes.push_back(before + std::to_string(count) + behind);
  };
  add(plain_, "",
      " conversations were written as \"role: content\" lines, because the model has no chat "
      "template.");
  add(merged_, "In ",
      " conversations the system message was put into the first user message, because the chat "
      "template refuses the system role.");
  add(flattened_, "In ",
      " conversations the text of content parts was joined, because the chat template expects "
      "text.");
  add(shortened_, "In ",
      " conversations messages were left out, because the chat template wants the user and the "
      "assistant to take turns.");
  if (refused_ > 0) {
    notes.push_back(std::to_string(refused_) + " of " + std::to_string(written_) +
                    " conversations were skipped, the first at " + first_ + ".");
  }
  return notes;
}

}  // namespace ptq
