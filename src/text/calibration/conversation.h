// Conversations as text, whatever a chat template takes of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "entries/entry.h"

namespace ptq {

class ChatTemplate;

/// Writes conversations with a chat template, or without one as plain text, and counts what it had
/// to change. For one thread.
class ConversationWriter {
 public:
  /// `chat_template` may be null, and must outlive this. `name` is what messages call the file.
  ConversationWriter(const ChatTemplate* chat_template, std::string name)
      : chat_template_(chat_template), name_(std::move(name)) {}

  /// The text of `messages`; nothing when the template refuses them in every form. `chat`: as in
  /// EntrySink.
  [[nodiscard]] std::optional<std::string> Write(const OrderedJson& messages, bool chat,
                                                 const Where& where);
  /// Whether texts are the template's, and hold their special tokens.
  [[nodiscard]] bool renders() const { return chat_template_ != nullptr; }

  /// What a reader should know, one sentence each. Throws InputError when the template has refused
  /// half of the conversations or more.
  [[nodiscard]] std::vector<std::string> Notes() const;

 private:
  std::optional<std::string> Try(const OrderedJson& messages);
  std::optional<std::string> Render(const OrderedJson& messages);

  const ChatTemplate* chat_template_;
  std::string name_;
  int64_t written_ = 0;
  int64_t plain_ = 0;
  int64_t flattened_ = 0;
  int64_t merged_ = 0;
  int64_t shortened_ = 0;
  int64_t refused_ = 0;
  std::string refusal_;  ///< of the conversation at hand
  std::string first_;    ///< the first that was refused: where, and why
};

/// The text of a message's content: a string, null, or a list of parts with "text".
[[nodiscard]] std::string ContentText(const OrderedJson& content);

}  // namespace ptq
