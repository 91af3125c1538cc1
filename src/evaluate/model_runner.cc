// Loads the constants once, makes the inputs of each text, and checks the shape of the output.
#include "ptq/evaluate/model_runner.h"

#include "ptq/base/error.h"
#include "ptq/runtime/executor.h"
#include "ptq/runtime/feeds.h"

namespace ptq {

struct ModelRunner::State {
  State(const std::filesystem::path& source, EvalTask task, const std::string& name, bool by_token)
      : model(Model::Load(source)),
        graph(model),
        executor(graph),
        feeder(graph, ReadFeedHints(model.directory())),
        output(ChooseOutput(graph, task, name, by_token)) {
    Segment whole;
    whole.end = int(executor.plan().steps().size());
    job = executor.MakeJob(whole, {output.value}, {});
    constants = executor.LoadConstants(job);
  }
  Model model;
  Graph graph;
  Executor executor;
  Feeder feeder;
  EvalOutput output;
  Job job;
  Values constants;
};

ModelRunner::ModelRunner(const std::filesystem::path& source, EvalTask task,
                         const std::string& output, bool by_token)
    : state_(std::make_unique<State>(source, task, output, by_token)) {}

ModelRunner::~ModelRunner() = default;

EvalTask ModelRunner::task() const { return state_->output.task; }
const Graph& ModelRunner::graph() const { return state_->graph; }
const std::string& ModelRunner::output() const { return graph().value(state_->output.value).name; }
bool ModelRunner::by_token() const {
  const auto declared = graph().DeclaredType(state_->output.value);
  return !declared.shape.has_value() || declared.shape->size() == 3;
}

Tensor ModelRunner::Run(const std::vector<int64_t>& ids) const {
  const auto length = static_cast<int64_t>(ids.size());
  const auto [task, value] = state_->output;
  Values outputs =
      state_->executor.Run(state_->job, state_->constants, state_->feeder.Make(ids, 1, length));
  Tensor output = outputs.at(value).ToFloat32();
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
