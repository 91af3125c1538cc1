// Whether a text is wanted, and what of it nobody else should see.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace ptq {

/// The code (ISO 639-3) of a language named by it or by that of ISO 639-1: "en", "eng". Throws
/// UsageError for a language that DetectLanguage does not know.
[[nodiscard]] std::string LanguageCode(const std::string& name);

/// The code of the language that a text is most likely in, by its letters and their triples; empty
/// when nothing tells. Short texts are often taken for another.
[[nodiscard]] std::string DetectLanguage(std::string_view text);

struct MaskedText {
  std::string text;
  int64_t count = 0;  ///< of what was masked
};

/// The text with `<SECRET>` for keys, tokens and passwords of known forms, `<EMAIL>` for addresses.
/// What has no known form stays: a help, and no guarantee.
[[nodiscard]] MaskedText MaskSecrets(std::string_view text);

/// A regular expression in the syntax of Rust's regex crate; ^ and $ match at lines. Immutable.
class TextPattern {
 public:
  /// Throws UsageError for what is none, which names it as `written`, if that is not empty.
  explicit TextPattern(const std::string& form, const std::string& written = "");
  [[nodiscard]] bool Matches(std::string_view text) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace ptq
