// Measures what the task of a model asks for.
#include "judge.h"

#include <algorithm>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/base/memory.h"
#include "ptq/evaluate/sentence_modules.h"
#include "ptq/pipeline/directory.h"

namespace ptq {
namespace {

LanguageModelScore ScoreLanguageModel(const EvaluationRequest& request, const ModelRunner& model,
                                      const ModelRunner* reference, const EvalTexts& texts) {
  const auto window = [&](size_t i) {
    const auto [text, begin, end, scored] = texts.windows[i];
    const std::vector<int64_t>& ids = texts.texts[text].ids;
    return TokenizedText{.ids = {ids.begin() + begin, ids.begin() + end}, .scored = scored};
  };
  const LanguageModelScore score = texts.windows.empty()
                                       ? Evaluate(model, reference, texts.texts)
                                       : Evaluate(model, reference, texts.windows.size(), window);
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
  const RetrievalSet* const retrieval = texts.retrieval.has_value() ? &*texts.retrieval : nullptr;
  const Embeddings own = Embed(model, modules, texts.texts);
  if (reference == nullptr) return ScoreEmbeddings(own, nullptr, texts.gold, retrieval);
  const Embeddings other = Embed(*reference, modules, texts.texts);
  return ScoreEmbeddings(own, &other, texts.gold, retrieval);
}

/// Those of a directory, and what they are compared with, have equal parts of the memory.
int64_t BudgetOfOne(const EvaluationRequest& request) {
  const int64_t all = request.memory_budget > 0 ? request.memory_budget : PhysicalBytes() / 2;
  const int64_t sides = request.reference.empty() ? 1 : 2;
  return all / (sides * std::max<int64_t>(std::ssize(ModelFiles(request.source).files), 1));
}

}  // namespace

RunnerOptions RunnerOptionsFor(const EvaluationRequest& request, const ModelRunner* model) {
  const bool pools = request.pooling.has_value();
  RunnerOptions options{request.task, request.output, pools, request.step};
  if (model != nullptr) {
    options.task = model->task();
  } else if (pools && request.task == EvalTask::kAuto) {
    options.task = EvalTask::kEmbedding;
  }
  options.continues = !request.task_file.empty();
  options.memory_budget = BudgetOfOne(request);
  return options;
}

Evaluation Judge(const EvaluationRequest& request, const ModelRunner& model,
                 const ModelRunner* reference, const EvalTexts& texts) {
  Evaluation found;
  EvalSubject& subject = found.subject;
  subject.texts = texts.texts.size();
  subject.pairs = texts.gold.size();
  subject.cut = texts.cut;
  subject.seq_len = request.seq_len;
  if (request.stride > 0) {
    subject.stride = request.stride;
    subject.windows = texts.windows.size();
  }
  subject.output = model.output();
  subject.reading = model.reading();
  subject.compared = reference != nullptr;
  switch (model.task()) {
    case EvalTask::kLanguageModel:
      found.score = ScoreLanguageModel(request, model, reference, texts);
      break;
    case EvalTask::kScore:
      found.score = CompareScores(model, reference, texts.texts, texts.truth);
      break;
    case EvalTask::kAuto:
    case EvalTask::kEmbedding:
      found.score = ScoreEncoder(request, model, reference, texts, subject);
  }
  return found;
}

}  // namespace ptq
