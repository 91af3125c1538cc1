// Hands texts to the library that knows languages, forms of secrets, and regular expressions.
#include "ptq/text/screen.h"

#include "backend.h"

#include "ptq/base/error.h"

namespace ptq {

std::string LanguageCode(const std::string& name) {
  try {
    return text_backend::LanguageCode(name);
  } catch (const InputError& error) {
    throw UsageError(std::string(error.what()) + "; name it by its code, as in en or deu");
  }
}

std::string DetectLanguage(std::string_view text) { return text_backend::DetectLanguage(text); }

MaskedText MaskSecrets(std::string_view text) {
  MaskedText masked;
  masked.text = text_backend::Mask(text, masked.count);
  return masked;
}

struct TextPattern::Impl {
  std::unique_ptr<const text_backend::Pattern> pattern;
};

TextPattern::TextPattern(const std::string& form, const std::string& written) {
  try {
    auto impl = std::make_shared<Impl>();
    impl->pattern = text_backend::Pattern::Create(form);
    impl_ = std::move(impl);
  } catch (const InputError& error) {
    std::string reason = error.what();
    if (const size_t last = reason.rfind("error: "); last != std::string::npos) {
      reason = reason.substr(last + 7);
    }
    throw UsageError("'" + (written.empty() ? form : written) + "' is no regular expression (" +
                     reason + ")");
  }
}

bool TextPattern::Matches(std::string_view text) const { return impl_->pattern->Matches(text); }

}  // namespace ptq
