// Gives every text a random rank, and lets those of large ranks go when there are too many.
#include "text_collector.h"

#include <algorithm>
#include <utility>

#include "lines.h"

namespace ptq {

/// Counts a text that is not empty, and tells whether it is to be kept.
bool TextCollector::Wants() {
  ++read_;
  rank_ = generator_();
  return rank_ <= largest_;
}

void TextCollector::Keep(SourceText text) {
  text.number = read_;
  bytes_ += int64_t(text.text.size() + text.second.size());
  kept_.push_back({rank_, std::move(text)});
  if (bytes_ / 4 > most_bytes_ && kept_.size() / 4 > most_texts_) DropHalf();
}

void TextCollector::DropHalf() {
  const auto middle = kept_.begin() + std::ssize(kept_) / 2;
  std::ranges::nth_element(kept_, middle, {}, &Kept::rank);
  largest_ = middle->rank;
  kept_.erase(middle + 1, kept_.end());
  bytes_ = 0;
  for (const Kept& kept : kept_) bytes_ += int64_t(kept.text.text.size() + kept.text.second.size());
}

void TextCollector::Text(std::string text) {
  if (IsBlank(text)) {
    ++empty_;
  } else if (Wants()) {
    Keep({.text = std::move(text)});
  }
}

void TextCollector::Pair(std::string first, std::string second) {
  if (pairs_ == PairUse::kTexts) {
    Text(std::move(first));
    return Text(std::move(second));
  }
  if (pairs_ == PairUse::kJoined) return Text(first + "\n" + second);
  if (IsBlank(first) || IsBlank(second)) {
    ++empty_;
  } else if (Wants()) {
    Keep({.text = std::move(first), .second = std::move(second), .pair = true});
  }
}

void TextCollector::Conversation(OrderedJson messages, bool chat, const std::string& where) {
  if (messages.empty()) {
    ++empty_;
    return;
  }
  if (!Wants()) return;
  std::optional<std::string> text = writer_->Write(messages, chat, where);
  if (text.has_value() && !IsBlank(*text)) {
    return Keep({.text = *std::move(text), .rendered = writer_->renders()});
  }
  --read_;
  if (text.has_value()) ++empty_;
}

std::vector<SourceText> TextCollector::Take() {
  std::ranges::sort(kept_, {}, [](const Kept& kept) { return kept.text.number; });
  std::vector<SourceText> texts;
  texts.reserve(kept_.size());
  for (Kept& kept : kept_) texts.push_back(std::move(kept.text));
  kept_.clear();
  return texts;
}

}  // namespace ptq
