// Loads the constants once, makes the inputs of each text, and checks the shape of the output.
#include "ptq/evaluate/model_runner.h"

#include <algorithm>

#include "ptq/base/error.h"
#include "ptq/runtime/executor.h"
#include "ptq/runtime/feeds.h"

namespace ptq {

struct ModelRunner::State {
  State(const std::filesystem::path& source, EvalTask task, const std::string& name, bool by_token,
        int64_t at_once)
      : model(Model::Load(source)),
        graph(model),
        executor(graph),
        feeder(graph, ReadFeedHints(model.directory())),
        output(ChooseOutput(graph, task, name, by_token)),
        step(at_once) {
    Segment whole;
    whole.end = int(executor.plan().steps().size());
    std::vector<ValueId> goals = {output.value};
    if (step > 0) continuations = Continuations(graph);
    for (const Continuation& cache : continuations) goals.push_back(cache.present);
    job = executor.MakeJob(whole, goals, {});
    constants = executor.LoadConstants(job);
  }
  Model model;
  Graph graph;
  Executor executor;
  Feeder feeder;
  EvalOutput output;
  int64_t step;
  std::vector<Continuation> continuations;  ///< with a step
  Job job;
  Values constants;
};

ModelRunner::ModelRunner(const std::filesystem::path& source, EvalTask task,
                         const std::string& output, bool by_token, int64_t step)
    : state_(std::make_unique<State>(source, task, output, by_token, step)) {}

ModelRunner::~ModelRunner() = default;

EvalTask ModelRunner::task() const { return state_->output.task; }
const Graph& ModelRunner::graph() const { return state_->graph; }
const std::string& ModelRunner::output() const { return graph().value(state_->output.value).name; }
bool ModelRunner::by_token() const {
  const auto declared = graph().DeclaredType(state_->output.value);
  return !declared.shape.has_value() || declared.shape->size() == 3;
}

Tensor ModelRunner::Run(const std::vector<int64_t>& ids) const {
  if (state_->step > 0) return RunInSteps(ids);
  const auto length = static_cast<int64_t>(ids.size());
  Values outputs =
      state_->executor.Run(state_->job, state_->constants, state_->feeder.Make(ids, 1, length));
  return Checked(outputs.at(state_->output.value), length);
}

Tensor ModelRunner::RunInSteps(const std::vector<int64_t>& ids) const {
  Values caches;
  Tensor all;
  const auto length = std::ssize(ids);
  for (int64_t seen = 0; seen < length; seen += state_->step) {
    const int64_t count = std::min(state_->step, length - seen);
    const std::vector<int64_t> next(ids.begin() + seen, ids.begin() + seen + count);
    const Values outputs = state_->executor.Run(state_->job, state_->constants,
                                                state_->feeder.MakeNext(next, seen, caches));
    const Tensor rows = Checked(outputs.at(state_->output.value), count);
    if (!all.defined()) all = Tensor(DType::kFloat32, {length, rows.dim(1)});
    std::ranges::copy(rows.data<float>(), all.mutable_data<float>().begin() + seen * rows.dim(1));
    for (const auto& [past, present] : state_->continuations) caches[past] = outputs.at(present);
  }
  return all;
}

Tensor ModelRunner::Checked(const Tensor& given, int64_t length) const {
  const auto [task, value] = state_->output;
  const Tensor output = given.ToFloat32();
  const bool per_token = output.rank() == 3 && output.dim(0) == 1 && output.dim(1) == length;
  if (per_token) return output.Reshaped({length, output.dim(2)});
  const bool of_text = task == EvalTask::kScore ? output.rank() > 0 && output.dim(0) == 1
                                                : task == EvalTask::kEmbedding &&
                                                      output.rank() == 2 && output.dim(0) == 1;
  if (of_text) return output.Reshaped({output.size()});
  throw UnsupportedError("'" + graph().model().path().string() + "': output '" +
                         graph().value(value).name + "' has shape " + ToString(output.shape()) +
                         " for one text of " + std::to_string(length) +
                         " tokens, expected a row for each token" +
                         (task != EvalTask::kLanguageModel ? ", or one for the text" : ""));
}

}  // namespace ptq
