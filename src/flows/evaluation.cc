// Chooses what a model is judged by, and lets it run on the texts.
#include "ptq/flows/evaluation.h"

#include <cstdint>
#include <limits>
#include <utility>
#include <variant>
#include <vector>

#include "ptq/base/error.h"
#include "ptq/base/progress.h"
#include "ptq/calibrate/samples.h"
#include "ptq/evaluate/model_runner.h"
#include "ptq/evaluate/sentence_modules.h"

namespace ptq {
namespace {

/// Texts as token ids, with gold scores when they are pairs of sentences.
struct EvalTexts {
  std::vector<std::vector<int64_t>> ids;
  std::vector<double> gold;
};

[[noreturn]] void RefusePairs(const EvaluationRequest& request, const ModelRunner& model) {
  throw UsageError("'" + request.text.string() +
                   "' holds pairs of sentences, which only an encoder is judged by; '" +
                   request.source.string() + "' gives " +
                   (model.task() == EvalTask::kScore ? "scores" : "next-token logits") +
                   " (--task embed overrides)");
}

EvalTexts ReadTexts(const EvaluationRequest& request, const ModelRunner& model) {
  const Progress progress("reading texts");
  CalibrationOptions options;
  options.seq_len = request.seq_len;
  options.files = {request.text};
  options.samples = std::numeric_limits<int32_t>::max();
  options.long_text = LongText::kTruncate;
  options.pairs = PairUseOf(model.graph());
  const int64_t vocabulary = VocabularySize(model.graph());
  if (auto pairs = ReadPairSamples(options, request.source, request.tokenizer, vocabulary)) {
    if (model.task() != EvalTask::kEmbedding) RefusePairs(request, model);
    return {std::move(pairs->ids), std::move(pairs->scores)};
  }
  if (model.task() != EvalTask::kLanguageModel && request.reference.empty()) {
    throw UsageError(model.task() == EvalTask::kScore
                         ? "scores of single texts need another model's: give --against"
                         : "embeddings of single texts need another model's: give --against, or "
                           "pairs of sentences with scores as --text");
  }
  return {ReadSamples(options, request.source, request.tokenizer, vocabulary).ids, {}};
}

LanguageModelScore ScoreLanguageModel(const EvaluationRequest& request, const ModelRunner& model,
                                      const ModelRunner* reference, const EvalTexts& texts) {
  const LanguageModelScore score = Evaluate(model, reference, texts.ids);
  if (score.tokens > 0) return score;
  throw InputError("'" + request.text.string() + "' holds no text of two tokens or more");
}

/// The modules beside either model; the same for both, so that only the models differ.
SentenceModules FindModules(const EvaluationRequest& request, const ModelRunner& model) {
  if (request.pooling.has_value()) return SentenceModules(*request.pooling);
  if (!model.by_token()) return SentenceModules(Pooling::kMean);  // has nothing to do
  if (auto modules = SentenceModules::Find(request.source)) return *std::move(modules);
  if (!request.reference.empty()) {
    if (auto modules = SentenceModules::Find(request.reference)) return *std::move(modules);
  }
  return SentenceModules(Pooling::kMean);
}

EmbeddingScore ScoreEncoder(const EvaluationRequest& request, const ModelRunner& model,
                            const ModelRunner* reference, const EvalTexts& texts,
                            EvalSubject& subject) {
  const SentenceModules modules = FindModules(request, model);
  if (model.by_token()) subject.pooling = modules.Description();
  const Embeddings own = Embed(model, modules, texts.ids);
  if (reference == nullptr) return ScoreEmbeddings(own, nullptr, texts.gold);
  const Embeddings other = Embed(*reference, modules, texts.ids);
  return ScoreEmbeddings(own, &other, texts.gold);
}

}  // namespace

std::vector<Figure> FiguresOf(const Evaluation& evaluation) {
  return std::visit([](const auto& score) { return FiguresOf(score); }, evaluation.score);
}

Evaluation EvaluateModel(const EvaluationRequest& request) {
  const bool pools = request.pooling.has_value();
  const EvalTask task =
      pools && request.task == EvalTask::kAuto ? EvalTask::kEmbedding : request.task;
  RunnerOptions options{task, request.output, pools, request.step};
  const ModelRunner model(request.source, options);
  if (request.step > 0 && model.task() != EvalTask::kLanguageModel) {
    throw UsageError("--step is for language models, and '" + request.source.string() +
                     "' gives no next-token logits");
  }
  const EvalTexts texts = ReadTexts(request, model);
  std::optional<ModelRunner> reference;
  if (!request.reference.empty()) {
    options.task = model.task();
    reference.emplace(request.reference, options);
  }
  const ModelRunner* const other = reference.has_value() ? &*reference : nullptr;
  Evaluation found;
  found.subject = {texts.ids.size(), texts.gold.size(), model.output(), "", other != nullptr};
  switch (model.task()) {
    case EvalTask::kLanguageModel:
      found.score = ScoreLanguageModel(request, model, other, texts);
      break;
    case EvalTask::kScore: found.score = CompareScores(model, other, texts.ids, texts.gold); break;
    case EvalTask::kAuto:
    case EvalTask::kEmbedding:
      found.score = ScoreEncoder(request, model, other, texts, found.subject);
  }
  return found;
}

}  // namespace ptq
