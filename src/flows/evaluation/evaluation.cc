// Chooses what a model is judged by, and lets it run on the texts.
#include "ptq/flows/evaluation.h"

#include <optional>
#include <variant>

#include "eval_texts.h"
#include "judge.h"

#include "ptq/evaluate/model_runner.h"
#include "ptq/pipeline/directory.h"

namespace ptq {

std::vector<Figure> FiguresOf(const Evaluation& evaluation) {
  return std::visit([](const auto& score) { return FiguresOf(score); }, evaluation.score);
}

Evaluation EvaluateModel(const EvaluationRequest& request) {
  const std::vector<std::filesystem::path> files = ModelFiles(request.source).files;
  if (files.size() > 1) return JudgeDirectory(request, files);
  const ModelRunner model(files.front(), RunnerOptionsFor(request, nullptr), request.text);
  CheckOptionsFor(request, model);
  const EvalTexts texts = ReadEvalTexts(request, NeedsOf({&model}));
  if (request.reference.empty()) return Judge(request, model, nullptr, texts);
  const ModelRunner reference(request.reference, RunnerOptionsFor(request, &model), request.text);
  return Judge(request, model, &reference, texts);
}

}  // namespace ptq
