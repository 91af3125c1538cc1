// Leaves out texts with tokens past the model's embedding table.
#include "ptq/text/vocabulary.h"

#include <algorithm>
#include <limits>

#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
#include "ptq/text/tokenizer.h"

namespace ptq {
namespace {

/// The beginning of a text, on one line.
std::string Beginning(std::string_view text) {
  constexpr size_t kBytes = 40;
  size_t end = std::min(text.size(), kBytes);
  while (end < text.size() && end > 0 && (uint8_t(text[end]) & 0xC0) == 0x80) --end;
  std::string shown(text.substr(0, end));
  std::ranges::replace_if(
      shown, [](char c) { return uint8_t(c) < ' '; }, ' ');
  return '"' + shown + (end < text.size() ? "…\"" : "\"");
}

}  // namespace

std::optional<int64_t> FindOutside(std::span<const int64_t> ids, int64_t vocabulary) {
  const int64_t limit = vocabulary > 0 ? vocabulary : std::numeric_limits<int64_t>::max();
  const auto found = std::ranges::find_if(ids, [&](int64_t id) { return id < 0 || id >= limit; });
  return found == ids.end() ? std::nullopt : std::optional<int64_t>(*found);
}

bool SkippedTexts::Skip(std::span<const int64_t> ids, int64_t number, std::string_view text) {
  if (!ids.empty()) ++texts_;
  const auto outside = FindOutside(ids, vocabulary_);
  if (!outside) return false;
  if (count_++ > 0) return true;
  id_ = *outside;
  where_ = unit_ + " " + std::to_string(number) + ", " + Beginning(text);
  return true;
}

std::string SkippedTexts::Finish() const {
  if (count_ == 0) return "";
  const std::string token = "token id " + std::to_string(id_) + " ('" +
                            tokenizer_->Decode(std::span(&id_, 1), false) + "') in " + where_ +
                            ", is outside the model's vocabulary of " + std::to_string(vocabulary_);
  const std::string many =
      std::to_string(count_) + " of " + std::to_string(texts_) + " " + unit_ + "s";
  if (2 * count_ > texts_) {
    throw InputError(name_ + ": " + token + ", and so are tokens of " + many +
                     "; the tokenizer does not belong to the model");
  }
  std::string note = name_ + ": " + many + " were skipped: " + token;
  spdlog::warn(note);
  return note;
}

}  // namespace ptq
