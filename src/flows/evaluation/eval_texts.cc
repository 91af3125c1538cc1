// Finds out what kind of texts a file holds, and makes token ids of them.
#include "eval_texts.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/base/progress.h"
#include "ptq/calibrate/samples.h"
#include "ptq/text/sentence_pairs.h"
#include "ptq/text/tokenizer.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

/// Far more than any text has, and few enough for what is computed of it.
constexpr int64_t kUncut = int64_t{1} << 24;

[[noreturn]] void RefusePairs(const EvaluationRequest& request) {
  throw UsageError(
      "'" + request.text.string() +
      "' holds pairs of sentences, by which encoders and models of scores are judged; '" +
      request.source.string() + "' gives next-token logits (--task embed overrides)");
}

/// Windows of `seq_len` that move on by `stride`; each token counts in the first one that reaches
/// it.
std::vector<TextWindow> WindowsOf(const std::vector<TokenizedText>& texts, int64_t seq_len,
                                  int64_t stride) {
  std::vector<TextWindow> windows;
  for (size_t text = 0; text < texts.size(); ++text) {
    const auto length = std::ssize(texts[text].ids);
    int64_t seen = 0;
    for (int64_t begin = 0; seen < length; begin += stride) {
      const int64_t end = std::min(begin + seq_len, length);
      windows.push_back({text, begin, end, begin == 0 ? 0 : end - seen});
      seen = end;
    }
  }
  return windows;
}

EvalTexts Alone(std::vector<std::vector<int64_t>> ids, CutTexts cut) {
  EvalTexts texts;
  for (auto& row : ids) texts.texts.push_back({.ids = std::move(row)});
  texts.cut = cut;
  return texts;
}

/// Members that examples may have beside their texts.
std::vector<std::string> MoreMembers() {
  return {"label",     "labels",  "score",     "similarity_score", "relevance", "negative",
          "negatives", "neg",     "negs",      "hard_negative",    "positives", "corpus",
          "target",    "targets", "highlights"};
}

}  // namespace

TextNeeds NeedsOf(const std::vector<const ModelRunner*>& models) {
  TextNeeds needs;
  for (const ModelRunner* model : models) {
    const int64_t rows = model->vocabulary();
    if (rows > 0 && (needs.vocabulary == 0 || rows < needs.vocabulary)) needs.vocabulary = rows;
    if (model->feeds() != nullptr) needs.feeds = model->feeds();
    needs.encoder = needs.encoder || model->task() == EvalTask::kEmbedding;
    const bool language = model->task() == EvalTask::kLanguageModel;
    needs.language_model = needs.language_model || language;
    needs.encoder_decoder = needs.encoder_decoder || (language && model->is_behind_encoder());
  }
  needs.scorer = !needs.encoder && !needs.language_model;
  return needs;
}

void CheckOptionsFor(const EvaluationRequest& request, const ModelRunner& model) {
  for (const auto& [option, value] :
       {std::pair("--step", request.step), std::pair("--stride", request.stride)}) {
    if (value == 0) continue;
    if (model.task() != EvalTask::kLanguageModel) {
      throw UsageError(std::string(option) + " is for language models, and '" +
                       request.source.string() + "' gives no next-token logits");
    }
    if (model.is_behind_encoder()) {
      throw UsageError(std::string(option) + " is not for decoders behind an encoder, as in '" +
                       request.source.string() + "'");
    }
  }
  if (request.stride > request.seq_len) {
    throw UsageError("--stride " + std::to_string(request.stride) + " is longer than --seq-len " +
                     std::to_string(request.seq_len) + ": tokens between windows would not count");
  }
}

fs::path TokenizerOwner(const EvaluationRequest& request) {
  const bool own = request.reference.empty() || FindTokenizerDirectory(request.source).has_value();
  return own ? request.source : request.reference;
}

EvalTexts ReadEvalTexts(const EvaluationRequest& request, const TextNeeds& needs) {
  const Progress progress("reading texts");
  if (needs.feeds != nullptr) {
    std::vector<std::vector<int64_t>> numbers;
    for (int64_t i = 0; i < needs.feeds->count(); ++i) numbers.push_back({i});
    return Alone(std::move(numbers), {});
  }
  CalibrationOptions options;
  options.seq_len = request.stride > 0 ? kUncut : request.seq_len;
  options.files = {request.text};
  options.samples = std::numeric_limits<int32_t>::max();
  options.long_text = LongText::kTruncate;
  if (needs.scorer) options.pairs = PairUse::kPair;
  if (needs.language_model) options.pairs = PairUse::kJoined;
  const fs::path owner = TokenizerOwner(request);
  const auto from_examples = [&]() -> std::optional<EvalTexts> {
    const auto examples = ReadExamples(request.text, MoreMembers());
    return examples.has_value() ? TextsOfExamples(*examples, request, needs) : std::nullopt;
  };
  if (needs.encoder_decoder) {
    if (auto texts = from_examples()) return *std::move(texts);
  } else if (needs.language_model && ReadSentencePairs(request.text)) {
    RefusePairs(request);
  }
  if (needs.encoder) {
    if (auto pairs = ReadPairSamples(options, owner, request.tokenizer, needs.vocabulary)) {
      EvalTexts texts = Alone(std::move(pairs->ids), pairs->cut);
      texts.gold = std::move(pairs->scores);
      return texts;
    }
  }
  if (!needs.language_model) {
    if (auto texts = from_examples()) return *std::move(texts);
  }
  if (!needs.language_model && request.reference.empty()) {
    throw UsageError(needs.encoder
                         ? "embeddings of single texts need another model's: give --against, or "
                           "pairs of sentences with scores, or queries with documents, as --text"
                         : "scores of single texts need another model's: give --against, or texts "
                           "with labels as --text");
  }
  CalibrationSet set = ReadSamples(options, owner, request.tokenizer, needs.vocabulary);
  EvalTexts texts = Alone(std::move(set.ids), set.cut);
  for (size_t i = 0; i < set.types.size(); ++i) texts.texts[i].types = set.types[i];
  if (request.stride > 0) {
    texts.windows = WindowsOf(texts.texts, request.seq_len, request.stride);
  }
  return texts;
}

}  // namespace ptq
