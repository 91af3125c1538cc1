// Loads the constants once, makes the inputs of each text, and checks the shape of the output.
#include "ptq/evaluate/model_runner.h"

#include <algorithm>

#include "ptq/base/error.h"
#include "ptq/runtime/feeds.h"

namespace ptq {
namespace {

/// None where the model cannot go on behind a text, and nobody insists.
std::vector<Continuation> FindContinuations(const Graph& graph, const RunnerOptions& options) {
  if (options.step > 0) return Continuations(graph);
  if (!options.continues) return {};
  try {
    return Continuations(graph);
  } catch (const UnsupportedError&) {
    return {};
  }
}

}  // namespace

struct ModelRunner::State {
  State(const std::filesystem::path& source, const RunnerOptions& options)
      : model(Model::Load(source)),
        graph(model),
        executor(graph),
        feeder(graph, ReadFeedHints(model.directory())),
        output(ChooseOutput(graph, options.task, options.output, options.by_token)),
        step(options.step),
        continuations(FindContinuations(graph, options)) {
    Segment whole;
    whole.end = int(executor.plan().steps().size());
    std::vector<ValueId> goals = {output.value};
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
  std::vector<Continuation> continuations;
  Job job;
  Values constants;
};

ModelRunner::ModelRunner(const std::filesystem::path& source, const RunnerOptions& options)
    : state_(std::make_unique<State>(source, options)) {}

ModelRunner::~ModelRunner() = default;

EvalTask ModelRunner::task() const { return state_->output.task; }
const Graph& ModelRunner::graph() const { return state_->graph; }
const std::string& ModelRunner::output() const { return graph().value(state_->output.value).name; }
bool ModelRunner::by_token() const {
  const auto declared = graph().DeclaredType(state_->output.value);
  return !declared.shape.has_value() || declared.shape->size() == 3;
}
bool ModelRunner::has_caches() const { return !state_->continuations.empty(); }

Tensor ModelRunner::Run(const std::vector<int64_t>& ids) const {
  if (state_->step > 0) return RunInSteps(ids);
  const auto length = static_cast<int64_t>(ids.size());
  Values outputs =
      state_->executor.Run(state_->job, state_->constants, state_->feeder.Make(ids, 1, length));
  return Checked(outputs.at(state_->output.value), length);
}

Tensor ModelRunner::RunInSteps(const std::vector<int64_t>& ids) const {
  TextState state;
  Tensor all;
  const auto length = std::ssize(ids);
  for (int64_t seen = 0; seen < length; seen += state_->step) {
    const int64_t count = std::min(state_->step, length - seen);
    const std::vector<int64_t> next(ids.begin() + seen, ids.begin() + seen + count);
    const Tensor rows = Checked(Continue(next, state), count);
    if (!all.defined()) all = Tensor(DType::kFloat32, {length, rows.dim(1)});
    std::ranges::copy(rows.data<float>(), all.mutable_data<float>().begin() + seen * rows.dim(1));
  }
  return all;
}

Tensor ModelRunner::Continue(const std::vector<int64_t>& ids, TextState& state) const {
  const Values outputs =
      state_->executor.Run(state_->job, state_->constants,
                           state_->feeder.MakeNext(ids, std::ssize(state.ids), state.caches));
  for (const auto& [past, present] : state_->continuations) {
    state.caches[past] = outputs.at(present);
  }
  state.ids.insert(state.ids.end(), ids.begin(), ids.end());
  return outputs.at(state_->output.value);
}

Tensor ModelRunner::Next(const std::vector<int64_t>& ids, TextState& state) const {
  Tensor rows;
  if (has_caches()) {
    rows = Continue(ids, state);
  } else {
    state.ids.insert(state.ids.end(), ids.begin(), ids.end());
    const auto& all = state.ids;
    rows = state_->executor
               .Run(state_->job, state_->constants, state_->feeder.Make(all, 1, std::ssize(all)))
               .at(state_->output.value);
  }
  const int64_t width = rows.rank() > 0 ? rows.dim(-1) : 0;
  if (rows.rank() < 2 || rows.size() < width || width == 0) {
    throw UnsupportedError("'" + graph().model().path().string() + "': output '" + output() +
                           "' has shape " + ToString(rows.shape()) +
                           ", expected next-token logits [batch, length, vocabulary]");
  }
  const Tensor wide = rows.ToFloat32();
  const std::span<const float> last = wide.data<float>().last(size_t(width));
  return Tensor::From<float>({width}, {last.begin(), last.end()});
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
