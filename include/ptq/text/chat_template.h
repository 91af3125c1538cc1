// Renders conversations with a model's own chat template, as transformers' apply_chat_template
// does.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace ptq {

/// What strftime_now() tells a template unless the caller decides otherwise: 26 July 2024 12:00
/// UTC, the date that Llama 3's template falls back to. Never the real clock, so that the same
/// input gives the same tokens every day.
inline constexpr int64_t kChatTemplateTime = 1'721'995'200;

/// A Jinja chat template with the special tokens it may name. Immutable.
class ChatTemplate {
 public:
  /// Looks for chat_template.jinja, `chat_template` in tokenizer_config.json (a string, or a list
  /// of named ones, of which `name` is taken), then chat_template.json. Empty when there is none.
  /// Throws InputError when a file is malformed or a list lacks `name`.
  [[nodiscard]] static std::optional<ChatTemplate> FromDirectory(
      const std::filesystem::path& directory, const std::string& name = "default");

  /// `variables_json`: a JSON object with the variables every rendering sees, for example
  /// {"bos_token": "<s>"}. Throws InputError when it is not an object.
  explicit ChatTemplate(std::string source, std::string_view variables_json = "{}");

  /// The text of one conversation. `messages_json` is a JSON array of {"role", "content", …};
  /// `extra_json` an object with more variables (tools, documents, …), which win over the others.
  /// The text holds its special tokens, so encode it without adding them again.
  /// Throws InputError with what the template said when it refuses, UsageError without PTQ_TEXT.
  [[nodiscard]] std::string Render(std::string_view messages_json,
                                   bool add_generation_prompt = false,
                                   std::string_view extra_json = "{}",
                                   int64_t now = kChatTemplateTime) const;

  [[nodiscard]] const std::string& source() const { return source_; }

 private:
  std::string source_;
  std::string variables_json_;
};

}  // namespace ptq
