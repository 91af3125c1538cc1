// Knows the names that data sets give their texts, conversations and pairs.
#include "entry.h"

#include <algorithm>
#include <array>
#include <utility>

#include "../lines.h"

#include "ptq/base/error.h"
#include "ptq/base/json.h"

namespace ptq {
namespace {

using Name = const char*;

constexpr Name kConversations[] = {"messages", "conversations", "conversation",
                                   "dialog",   "dialogue",      "turns"};
/// A request and its answer; the first may have more beside it.
struct Exchange {
  Name request;
  Name more;  ///< stands below the request
  Name answer;
};
constexpr Exchange kExchanges[] = {{"instruction", "input", "output"},
                                   {"instruction", "context", "response"},
                                   {"instruction", "input", "response"},
                                   {"instruction", "input", "completion"},
                                   {"prompt", "", "completion"},
                                   {"prompt", "", "response"},
                                   {"prompt", "", "chosen"},
                                   {"prompt", "", "output"},
                                   {"prompt", "", "answer"},
                                   {"problem", "", "solution"},
                                   {"question", "context", "answer"},
                                   {"question", "context", "answers"},
                                   {"question", "", "response"},
                                   {"question", "", "output"},
                                   {"query", "", "response"},
                                   {"query", "", "answer"},
                                   {"input", "", "output"},
                                   {"inputs", "", "targets"},
                                   {"source", "", "target"}};
constexpr Name kSystem[] = {"system", "system_prompt"};
struct Two {
  Name first;
  Name second;
};
constexpr Two kPairs[] = {{"query", "document"},
                          {"query", "passage"},
                          {"query", "positive"},
                          {"query", "pos"},
                          {"query", "doc"},
                          {"query", "text"},
                          {"query", "documents"},
                          {"query", "passages"},
                          {"query", "content"},
                          {"query", "title"},
                          {"question", "document"},
                          {"question", "passage"},
                          {"question", "positive"},
                          {"anchor", "positive"},
                          {"text", "text_pair"},
                          {"sentence1", "sentence2"},
                          {"sentence_A", "sentence_B"},
                          {"premise", "hypothesis"},
                          {"question1", "question2"},
                          {"text1", "text2"},
                          {"text_a", "text_b"},
                          {"texta", "textb"}};
constexpr Name kNegatives[] = {"negative", "neg", "negatives", "hard_negative"};
constexpr Name kTexts[] = {
    "text",     "prompt", "content",    "chosen",   "sentence",    "document",    "passage",
    "article",  "body",   "review",     "question", "query",       "instruction", "input",
    "code",     "story",  "completion", "response", "output",      "answer",      "summary",
    "abstract", "dialog", "dialogue",   "markdown", "raw_content", "title"};

bool IsTextOrTexts(const OrderedJson& value) {
  const auto is_text = [](const OrderedJson& v) { return v.is_string() || v.is_null(); };
  return is_text(value) || (value.is_array() && std::ranges::all_of(value, is_text));
}

/// The member, when it is there and holds text, or nothing.
const OrderedJson* TextAt(const OrderedJson& entry, Name name) {
  const auto found = entry.find(name);
  return found != entry.end() && IsTextOrTexts(*found) ? &*found : nullptr;
}

/// Texts of a member: itself, or those of the list that it is, or is a list of.
std::vector<std::string> TextsOf(const OrderedJson& value) {
  if (value.is_string()) return {value.get<std::string>()};
  std::vector<std::string> texts;
  if (!value.is_array()) return texts;
  for (const OrderedJson& item : value) {
    if (item.is_string()) texts.push_back(item.get<std::string>());
  }
  return texts;
}

std::string FirstText(const OrderedJson& value) {
  const std::vector<std::string> texts = TextsOf(value);
  return texts.empty() ? "" : texts.front();
}

/// A list of messages, or the JSON of one.
bool IsConversation(const OrderedJson& value) {
  if (value.is_array()) {
    return value.empty() || value.front().is_object();
  }
  if (!value.is_string()) return false;
  const std::string& text = value.get_ref<const std::string&>();
  const size_t start = text.find_first_not_of(kBlank);
  return start != std::string::npos && text[start] == '[' &&
         IsConversation(ParseJson<OrderedJson>(text));
}

class EntryTexts {
 public:
  EntryTexts(const OrderedJson& entry, const Where& where, EntrySink& sink)
      : entry_(entry), where_(where), sink_(sink) {}

  /// Whether the entry is of a known form.
  bool Read() { return Conversation() || Preference() || Pairs() || Exchanges() || Texts(); }

 private:
  bool Conversation() {
    for (const Name name : kConversations) {
      if (!entry_.contains(name)) continue;
      const OrderedJson& value = entry_[name];
      if (value.is_null()) continue;
      const bool other = name != kConversations[0] && !IsConversation(value) && !value.is_array();
      if (other) continue;
      sink_.Conversation(WithSystem(MessagesOf(value, name, where_)), /*chat=*/true, where_);
      return true;
    }
    return false;
  }

  /// Lists of messages as prompt, and as what follows it.
  bool Preference() {
    OrderedJson messages = OrderedJson::array();
    for (const Name name : {"prompt", "chosen", "completion"}) {
      if (!entry_.contains(name) || !IsConversation(entry_[name])) continue;
      const OrderedJson more = MessagesOf(entry_[name], name, where_);
      // "chosen" often begins with the prompt.
      const bool whole = more.size() >= messages.size() &&
                         std::equal(messages.begin(), messages.end(), more.begin());
      if (whole) messages.clear();
      messages.insert(messages.end(), more.begin(), more.end());
      if (name != std::string_view("prompt")) break;
    }
    if (messages.empty()) return false;
    sink_.Conversation(WithSystem(std::move(messages)), /*chat=*/true, where_);
    return true;
  }

  bool Pairs() {
    for (const auto& [first, second] : kPairs) {
      const OrderedJson* const query = TextAt(entry_, first);
      if (query == nullptr || !entry_.contains(second)) continue;
      std::vector<std::string> documents = Documents(entry_[second]);
      if (documents.empty()) continue;
      for (const Name name : kNegatives) {
        if (!entry_.contains(name)) continue;
        for (std::string& text : Documents(entry_[name])) documents.push_back(std::move(text));
      }
      for (std::string& text : documents) sink_.Pair(FirstText(*query), std::move(text));
      return true;
    }
    return false;
  }

  /// Texts, or objects of which one member is the text, as lists or columns.
  static std::vector<std::string> Documents(const OrderedJson& value) {
    if (IsTextOrTexts(value)) return TextsOf(value);
    const OrderedJson list = value.is_object() ? OrderedJson::array({value}) : value;
    std::vector<std::string> texts;
    if (!list.is_array()) return texts;
    for (const OrderedJson& item : list) {
      for (const Name name : {"text", "passage_text", "content", "contents", "document"}) {
        if (!item.is_object() || !item.contains(name)) continue;
        for (std::string& text : TextsOf(item[name])) texts.push_back(std::move(text));
        break;
      }
    }
    return texts;
  }

  bool Exchanges() {
    for (const auto& [request, more, answer] : kExchanges) {
      const OrderedJson* const first = TextAt(entry_, request);
      if (first == nullptr || !entry_.contains(answer)) continue;
      const OrderedJson& value = entry_[answer];
      const OrderedJson& given =
          value.is_object() && value.contains("text") ? value["text"] : value;  // SQuAD
      if (!IsTextOrTexts(given)) continue;
      std::string question = FirstText(*first);
      const OrderedJson* const below = *more == '\0' ? nullptr : TextAt(entry_, more);
      if (below != nullptr) {
        if (const std::string input = FirstText(*below); !IsBlank(input))
          question += "\n\n" + input;
      }
      std::string text = FirstText(given);
      if (IsBlank(question) && IsBlank(text)) {
        sink_.Text("");
        return true;
      }
      OrderedJson messages = OrderedJson::array();
      messages.push_back({{"role", "user"}, {"content", std::move(question)}});
      if (!text.empty()) messages.push_back({{"role", "assistant"}, {"content", std::move(text)}});
      sink_.Conversation(WithSystem(std::move(messages)), /*chat=*/false, where_);
      return true;
    }
    return false;
  }

  bool Texts() {
    for (const Name name : kTexts) {
      const auto found = entry_.find(name);
      if (found == entry_.end()) continue;
      if (!IsTextOrTexts(*found)) {
        if (name != kTexts[0] && name != kTexts[1]) continue;
        throw InputError(where_ + ": \"" + name + "\" must be a string");
      }
      if (found->is_null() || found->empty()) {
        sink_.Text("");
      }
      for (std::string& text : TextsOf(*found)) sink_.Text(std::move(text));
      return true;
    }
    return false;
  }

  [[nodiscard]] OrderedJson WithSystem(OrderedJson messages) const {
    for (const Name name : kSystem) {
      const OrderedJson* const system = TextAt(entry_, name);
      if (system == nullptr || FirstText(*system).empty() || messages.empty()) continue;
      if (messages.front().value("role", OrderedJson()) == "system") continue;
      messages.insert(messages.begin(),
                      OrderedJson{{"role", "system"}, {"content", FirstText(*system)}});
      break;
    }
    return messages;
  }

  const OrderedJson& entry_;
  const Where& where_;
  EntrySink& sink_;
};

[[noreturn]] void RefuseEntry(const OrderedJson& entry, const std::string& what,
                              const Where& where) {
  std::string keys;
  for (const auto& item : entry.items()) keys += (keys.empty() ? "" : ", ") + item.key();
  throw InputError(where + ": no " + what + " (keys: " + (keys.empty() ? "none" : keys) +
                   "); FILE:KEY says which holds the texts");
}

/// What stands at a field that the user names: any text, or an entry of its own.
void ReadValue(const OrderedJson& value, const Where& where, EntrySink& sink) {
  if (IsTextOrTexts(value) && !(value.is_string() && IsConversation(value))) {
    if (value.is_null() || value.empty()) sink.Text("");
    for (std::string& text : TextsOf(value)) sink.Text(std::move(text));
  } else if (IsConversation(value)) {
    sink.Conversation(MessagesOf(value, "the field", where), /*chat=*/true, where);
  } else if (value.is_object()) {
    if (!EntryTexts(value, where, sink).Read())
      RefuseEntry(value, std::string(kMainMembers), where);
  } else {
    throw InputError(where + ": the field holds " + DumpJson(value).substr(0, 40) +
                     ", which is no text");
  }
}

/// {"0": …, "1": …}, as pandas writes a column, as a list.
bool IsColumn(const OrderedJson& value) { return value.is_object() && value.contains("0"); }

OrderedJson WithLists(const OrderedJson& entry) {
  OrderedJson made = entry;
  for (OrderedJson& value : made) {
    if (!IsColumn(value)) continue;
    OrderedJson list = OrderedJson::array();
    for (const OrderedJson& item : value) list.push_back(item);
    value = std::move(list);
  }
  return made;
}

class Nothing : public EntrySink {
  void Text(std::string) override {}
  void Pair(std::string, std::string) override {}
  void Conversation(OrderedJson, bool, const std::string&) override {}
};

/// The only member that is a string.
const OrderedJson* OnlyText(const OrderedJson& entry) {
  const OrderedJson* only = nullptr;
  for (const OrderedJson& value : entry) {
    if (!value.is_string()) continue;
    if (only != nullptr) return nullptr;
    only = &value;
  }
  return only;
}

/// Whether a known member is there, without a value: the entry is empty then.
bool HasNullMember(const OrderedJson& entry) {
  const std::vector<std::string> known = KnownMembers();
  return std::ranges::any_of(known, [&](const std::string& name) {
    const auto found = entry.find(name);
    return found != entry.end() && found->is_null();
  });
}

}  // namespace

void ReadEntry(const OrderedJson& entry, std::string_view field, const Where& where,
               EntrySink& sink) {
  if (entry.is_string() && field.empty()) return sink.Text(entry.get<std::string>());
  if (field.empty() && entry.is_array() && !entry.empty() && IsConversation(entry)) {
    return sink.Conversation(MessagesOf(entry, "the line", where), /*chat=*/true, where);
  }
  if (!entry.is_object()) throw InputError(where + ": expected an object, not " + DumpJson(entry));
  if (std::ranges::any_of(entry, IsColumn)) return ReadEntry(WithLists(entry), field, where, sink);
  sink.Begin(entry);
  if (!field.empty()) {
    const std::vector<const OrderedJson*> found = ValuesAt(entry, field);
    if (found.empty()) RefuseEntry(entry, "\"" + std::string(field) + "\"", where);
    for (const OrderedJson* value : found) ReadValue(*value, where, sink);
    return;
  }
  if (EntryTexts(entry, where, sink).Read()) return;
  if (HasNullMember(entry)) return sink.Text("");
  const OrderedJson* const only = OnlyText(entry);
  if (only == nullptr) RefuseEntry(entry, std::string(kMainMembers), where);
  sink.Text(only->get<std::string>());
}

bool IsKnownEntry(const OrderedJson& entry) {
  if (!entry.is_object()) return false;
  Nothing nothing;
  try {
    return EntryTexts(entry, "", nothing).Read();
  } catch (const InputError&) {
    return true;  // and what is wrong with it is said when it is read
  }
}

std::vector<std::string> KnownMembers() {
  std::vector<std::string> names;
  const auto add = [&](Name name) { names.emplace_back(name); };
  std::ranges::for_each(kConversations, add);
  for (const auto& [request, more, answer] : kExchanges) {
    for (const Name name : {request, more, answer}) add(name);
  }
  for (const auto& [first, second] : kPairs) {
    add(first);
    add(second);
  }
  std::ranges::for_each(kSystem, add);
  std::ranges::for_each(kNegatives, add);
  std::ranges::for_each(kTexts, add);
  return names;
}

}  // namespace ptq
