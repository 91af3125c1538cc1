// Chooses what a model is judged by, and lets it run on the texts.
#include "ptq/flows/evaluation.h"

#include <optional>
#include <variant>

#include "eval_texts.h"
#include "judge.h"

#include "ptq/base/error.h"
#include "ptq/evaluate/model_runner.h"
#include "ptq/pipeline/directory.h"

namespace ptq {

std::vector<Figure> FiguresOf(const Evaluation& evaluation) {
  return std::visit([](const auto& score) { return FiguresOf(score); }, evaluation.score);
}

Evaluation EvaluateModel(const EvaluationRequest& request) {
  if (request.text.empty() && request.task_file.empty()) {
    throw UsageError("--text is missing; give texts, or tasks as --task-file");
  }
  if (!request.text.empty() && !request.task_file.empty()) {
    throw UsageError("--text and --task-file are two evaluations; give one of them");
  }
  const std::vector<std::filesystem::path> files = ModelFiles(request.source).files;
  if (files.size() > 1) return JudgeDirectory(request, files);
  const ModelRunner model(files.front(), RunnerOptionsFor(request, nullptr), request.text);
  CheckOptionsFor(request, model);
  EvalTexts texts;
  if (request.task_file.empty()) texts = ReadEvalTexts(request, NeedsOf({&model}));
  const auto judge = [&](const ModelRunner* reference) {
    return request.task_file.empty() ? Judge(request, model, reference, texts)
                                     : JudgeGenerations(request, model, reference);
  };
  if (request.reference.empty()) return judge(nullptr);
  const ModelRunner reference(request.reference, RunnerOptionsFor(request, &model), request.text);
  return judge(&reference);
}

}  // namespace ptq
