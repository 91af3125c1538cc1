// Looks at each text by itself, in parallel, and then for those that are alike.
#include "filters.h"

#include <algorithm>
#include <optional>
#include <unordered_set>
#include <utility>

#include "ptq/base/interrupt.h"
#include "ptq/base/json.h"
#include "ptq/base/parallel.h"
#include "ptq/base/progress.h"
#include "ptq/text/near_duplicates.h"
#include "ptq/text/screen.h"
#include "ptq/text/vocabulary.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

/// Masks every text within, but not what says roles and domains.
void MaskWithin(Json& value) {
  if (value.is_string()) {
    value = MaskSecrets(value.get_ref<const std::string&>()).text;
  } else if (value.is_structured()) {
    for (auto& [key, item] : value.items()) {
      if (key != "role" && key != "type") MaskWithin(item);
    }
  }
}

class TextFilter {
 public:
  TextFilter(const BuildRequest& request, const TextTools* tools, int64_t vocabulary)
      : request_(request), tools_(tools), vocabulary_(vocabulary) {
    for (const std::string& name : request.languages) languages_.push_back(LanguageCode(name));
    for (const std::string& form : request.matching) matching_.emplace_back(form);
    for (const std::string& form : request.without) without_.emplace_back(form);
  }

  /// Why a text is left out; empty when it is not. Fills in what is known of it, and counts what
  /// was masked.
  std::string Look(KeptText& kept, int64_t& masked) const {
    std::string& text = kept.text.text;
    const auto matches = [&](const TextPattern& pattern) { return pattern.Matches(text); };
    if (!matching_.empty() && std::ranges::none_of(matching_, matches)) return "pattern";
    if (std::ranges::any_of(without_, matches)) return "pattern";
    if (request_.mask) Mask(kept.text, masked);
    kept.tokens = EstimateTokens(text);
    // Tokens are made only of what may have the right number of them.
    if (std::ssize(text) < request_.min_tokens) return "short";
    if (tools_ != nullptr) {
      kept.ids = tools_->tokenizer->Encode(text, !kept.text.rendered);
      kept.tokens = std::ssize(kept.ids);
      if (FindOutside(kept.ids, vocabulary_).has_value()) return "vocabulary";
    }
    if (kept.tokens < request_.min_tokens) return "short";
    if (kept.tokens > request_.max_tokens) return "long";
    if (!languages_.empty() &&
        std::ranges::find(languages_, DetectLanguage(text)) == languages_.end()) {
      return "language";
    }
    return "";
  }

 private:
  void Mask(CorpusText& text, int64_t& masked) const {
    MaskedText found = MaskSecrets(text.text);
    masked = found.count;
    if (found.count == 0) return;
    text.text = std::move(found.text);
    auto entry = ParseJson<Json>(text.entry);
    const Json domain = entry.value(request_.domain_field, Json());
    MaskWithin(entry);
    if (!domain.is_null()) entry[request_.domain_field] = domain;
    text.entry = DumpJson(entry);
  }

  const BuildRequest& request_;
  const TextTools* tools_;
  int64_t vocabulary_;
  std::vector<std::string> languages_;
  std::vector<TextPattern> matching_, without_;
};

/// Keeps the first of each text.
void DropEqual(Kept& kept) {
  std::unordered_set<std::string_view> seen;
  std::vector<KeptText> others;
  std::vector<bool> again;
  for (const KeptText& text : kept.texts) again.push_back(!seen.insert(text.text.text).second);
  for (size_t i = 0; i < again.size(); ++i) {
    if (!again[i]) others.push_back(std::move(kept.texts[i]));
  }
  if (others.size() < again.size()) {
    kept.dropped["equal"] = std::ssize(again) - std::ssize(others);
  }
  kept.texts = std::move(others);
}

void DropNear(double similarity, Kept& kept) {
  std::vector<std::string> texts;
  texts.reserve(kept.texts.size());
  for (const KeptText& text : kept.texts) texts.push_back(text.text.text);
  const std::vector<size_t> first = FindNearDuplicates(texts, similarity);
  std::vector<KeptText> others;
  for (size_t i = 0; i < first.size(); ++i) {
    if (first[i] == i) others.push_back(std::move(kept.texts[i]));
  }
  if (others.size() < first.size()) {
    kept.dropped["nearly equal"] = std::ssize(first) - std::ssize(others);
  }
  kept.texts = std::move(others);
}

}  // namespace

int64_t EstimateTokens(std::string_view text) { return int64_t(CountWords(text) * 4 / 3); }

Kept FilterTexts(const BuildRequest& request, std::vector<CorpusText> texts, const TextTools* tools,
                 int64_t vocabulary) {
  const TextFilter filter(request, tools, vocabulary);
  constexpr int64_t kAtOnce = 1024;
  const auto count = std::ssize(texts);
  std::vector<KeptText> looked(texts.size());
  std::vector<std::string> reasons(texts.size());
  std::vector<int64_t> masked(texts.size(), 0);
  Kept kept;
  {
    Progress progress("filtering", count);
    ParallelForTiles(count, kAtOnce, [&](int64_t begin, int64_t end) {
      CheckInterrupt();
      for (int64_t i = begin; i < end; ++i) {
        const auto at = size_t(i);
        looked[at].text = std::move(texts[at]);
        reasons[at] = filter.Look(looked[at], masked[at]);
        if (!reasons[at].empty()) looked[at] = {};
      }
      progress.Advance(end - begin);
    });
  }
  for (size_t i = 0; i < looked.size(); ++i) {
    if (!reasons[i].empty()) {
      ++kept.dropped[reasons[i]];
      continue;
    }
    kept.masked += masked[i];
    kept.masked_texts += masked[i] > 0 ? 1 : 0;
    kept.texts.push_back(std::move(looked[i]));
  }
  const Progress progress("looking for duplicates");
  DropEqual(kept);
  DropNear(request.similarity, kept);
  return kept;
}

}  // namespace ptq
