// An entry of a data set, a JSON object or a row of a table, as the texts that it holds.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace ptq {

/// Keeps the order of keys: chat templates may write an object out again.
using OrderedJson = nlohmann::ordered_json;

/// Takes what the entries of a file hold, one call for each text.
class EntrySink {
 public:
  virtual ~EntrySink() = default;
  /// The object that the next calls are about; plain text has none.
  virtual void Begin(const OrderedJson& entry) { (void)entry; }
  virtual void Text(std::string text) = 0;
  /// Two texts that belong together, such as a query and a document.
  virtual void Pair(std::string first, std::string second) = 0;
  /// Messages of "role" and "content". `chat`: given as such, and no request with its answer.
  /// `where` is how errors call the entry.
  virtual void Conversation(OrderedJson messages, bool chat, const std::string& where) = 0;
};

/// Where an entry stands, for error messages: "calib.jsonl:12" or "calib.json: entry 12".
using Where = std::string;

/// Hands what an entry holds to the sink: what is at `field`, a dotted path, or what the names of
/// its members say (docs/calibration.md lists them). Throws InputError for an entry that holds
/// nothing known.
void ReadEntry(const OrderedJson& entry, std::string_view field, const Where& where,
               EntrySink& sink);

/// What is at the end of a dotted path ("messages.0.content"); a name in front of a list is looked
/// for in all of its items.
[[nodiscard]] std::vector<const OrderedJson*> ValuesAt(const OrderedJson& value,
                                                       std::string_view field);

/// Whether members of these names hold texts.
[[nodiscard]] bool IsKnownEntry(const OrderedJson& entry);

/// All names that ReadEntry looks for.
[[nodiscard]] std::vector<std::string> KnownMembers();

/// "text", "prompt" or "messages", for messages.
inline constexpr std::string_view kMainMembers = "\"text\", \"prompt\" or \"messages\"";

/// The messages in what data sets call a conversation: a list (also as a string of JSON) of
/// role and content, of from and value (ShareGPT), or of texts that take turns. Throws InputError
/// with `where` and `name`.
[[nodiscard]] OrderedJson MessagesOf(const OrderedJson& value, const std::string& name,
                                     const Where& where);

}  // namespace ptq
