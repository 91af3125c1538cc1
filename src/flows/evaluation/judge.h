// One loaded model, judged by its task.
#pragma once

#include "eval_texts.h"

#include "ptq/evaluate/model_runner.h"
#include "ptq/flows/evaluation.h"

namespace ptq {

/// Runs the model, and the reference when there is one, on the texts. Throws InputError for texts
/// that hold nothing to judge.
[[nodiscard]] Evaluation Judge(const EvaluationRequest& request, const ModelRunner& model,
                               const ModelRunner* reference, const EvalTexts& texts);

/// The options of a runner that judges by the same as `model`, or for which `model` is null.
[[nodiscard]] RunnerOptions RunnerOptionsFor(const EvaluationRequest& request,
                                             const ModelRunner* model);

/// Lets a language model, and the reference when there is one, answer the tasks of a file. Throws
/// UsageError for a model of another kind, InputError for a file without prompts.
[[nodiscard]] Evaluation JudgeGenerations(const EvaluationRequest& request,
                                          const ModelRunner& model, const ModelRunner* reference);

/// Judges every model of a directory, `files`.
[[nodiscard]] Evaluation JudgeDirectory(const EvaluationRequest& request,
                                        const std::vector<std::filesystem::path>& files);

}  // namespace ptq
