// Reads tasks, and lets language models answer them.
#include <algorithm>
#include <array>
#include <utility>

#include "eval_texts.h"
#include "judge.h"

#include "ptq/base/error.h"
#include "ptq/base/json.h"
#include "ptq/evaluate/exact_match.h"
#include "ptq/text/vocabulary.h"

namespace ptq {
namespace {

constexpr std::array<const char*, 5> kPrompts = {"prompt", "question", "input", "source", "text"};
constexpr std::array<const char*, 7> kAnswers = {"answer",   "answers",    "target",  "output",
                                                 "expected", "completion", "response"};

/// A conversation as its template writes it, with what makes the assistant speak.
std::string Conversation(const Example& example, const TextTools& tools) {
  if (tools.chat_template.has_value()) {
    return tools.chat_template->Render(DumpJson(example.members["messages"]), true);
  }
  throw InputError(example.where +
                   ": \"messages\" need a chat template beside the tokenizer; give a \"prompt\"");
}

std::string PromptOf(const Example& example) {
  for (const char* name : kPrompts) {
    if (auto text = TextIn(example, name)) return *std::move(text);
  }
  throw InputError(example.where + ": no \"prompt\" and no \"messages\"");
}

std::vector<std::string> AnswersOf(const Example& example) {
  for (const char* name : kAnswers) {
    const auto found = example.members.find(name);
    if (found == example.members.end() || found->is_null()) continue;
    if (found->is_number()) return {DumpJson(*found)};
    std::vector<std::string> texts = TextsIn(example, name);
    if (!texts.empty()) return texts;
  }
  return {};
}

/// Ids to go on behind: special tokens that would close the text are left out.
std::vector<int64_t> OpenIds(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<int64_t> ids = tokenizer.Encode(text, true);
  const std::vector<int64_t> plain = tokenizer.Encode(text, false);
  const auto found = std::search(ids.begin(), ids.end(), plain.begin(), plain.end());
  if (found != ids.end() && !plain.empty()) ids.erase(found + std::ssize(plain), ids.end());
  return ids;
}

GenerationTask TaskOf(const Example& example, const TextTools& tools, const ModelRunner& model) {
  GenerationTask task;
  if (example.members.contains("messages")) {
    task.prompt = tools.tokenizer->Encode(Conversation(example, tools), false);
  } else if (model.is_behind_encoder()) {
    task.prompt = tools.tokenizer->Encode(PromptOf(example), true);
  } else {
    task.prompt = OpenIds(*tools.tokenizer, PromptOf(example));
  }
  task.answers = AnswersOf(example);
  if (task.prompt.empty()) throw InputError(example.where + ": the prompt has no tokens");
  if (const auto outside = FindOutside(task.prompt, model.vocabulary())) {
    throw InputError(example.where + ": token id " + std::to_string(*outside) +
                     " is outside the model's vocabulary of " + std::to_string(model.vocabulary()));
  }
  return task;
}

}  // namespace

Evaluation JudgeGenerations(const EvaluationRequest& request, const ModelRunner& model,
                            const ModelRunner* reference) {
  if (model.task() != EvalTask::kLanguageModel) {
    throw UsageError("--task-file is for language models, and '" + request.source.string() +
                     "' gives no next-token logits");
  }
  const auto examples = ReadExamples(request.task_file, {kAnswers.begin(), kAnswers.end()});
  if (!examples.has_value()) {
    throw InputError("'" + request.task_file.string() +
                     "' holds no tasks: objects with \"prompt\" or \"messages\", and \"answer\"");
  }
  const TextTools tools = LoadTextTools(TokenizerOwner(request), request.tokenizer);
  std::vector<GenerationTask> tasks;
  for (const Example& example : *examples) tasks.push_back(TaskOf(example, tools, model));
  GenerationLimits limits = ReadGenerationLimits(request.source);
  if (limits.end_tokens.empty() && reference != nullptr) {
    limits = ReadGenerationLimits(request.reference);
  }
  Evaluation found;
  found.subject.texts = tasks.size();
  found.subject.output = model.output();
  found.subject.reading =
      model.has_caches() ? "through the caches" : "all of a text again for each token";
  found.subject.compared = reference != nullptr;
  found.score = ScoreGenerations(
      model, reference, tasks, limits, request.generation,
      [&](const std::vector<int64_t>& ids) { return tools.tokenizer->Decode(ids, true); });
  return found;
}

}  // namespace ptq
