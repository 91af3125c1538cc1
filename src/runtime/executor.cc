#include "ptq/runtime/executor.h"

#include <algorithm>
#include <set>

#include "ptq/base/error.h"

namespace ptq {
namespace {

/// Calls body(step, constant) for every stored constant that a segment's steps read.
template <class Body>
void ForEachStored(const ExecutionPlan& plan, const Segment& segment, const Body& body) {
  for (int i = segment.begin; i < segment.end; ++i) {
    const Step& step = plan.steps()[size_t(i)];
    for (const ValueId id : ReadsOf(plan.graph(), step)) {
      const onnx::TensorProto* const stored = plan.graph().value(id).constant;
      if (stored != nullptr) body(step, *stored);
    }
  }
}

/// Adds the node to an error that a kernel raised without knowing where it runs.
template <class Body>
void WithNode(const Node& node, const Body& body) {
  const auto where = [&] { return "node '" + node.name() + "' (" + node.op_type() + "): "; };
  try {
    body();
  } catch (const InputError& error) {
    throw InputError(where() + error.what());
  } catch (const UnsupportedError& error) {
    throw UnsupportedError(where() + error.what());
  }
}

}  // namespace

Job Executor::MakeJob(const Segment& segment, std::vector<ValueId> goals,
                      std::vector<ValueId> taps) const {
  Job job;
  std::vector<ValueId> wanted = goals;
  wanted.insert(wanted.end(), taps.begin(), taps.end());
  job.steps = plan_.StepsFor(segment, wanted);
  job.inputs = InputsOf(job.steps, wanted);
  job.goals = std::move(goals);
  job.taps = std::move(taps);
  job.release.resize(job.steps.size());
  std::set<ValueId> seen(job.goals.begin(), job.goals.end());
  for (size_t i = job.steps.size(); i-- > 0;) {
    const Step& step = plan_.steps()[size_t(job.steps[i])];
    for (const ValueId id : ReadsOf(graph(), step)) {
      if (!plan_.IsConstant(id) && seen.insert(id).second) job.release[i].push_back(id);
    }
    // Outputs that nobody reads (an unused cache) go at once.
    for (const ValueId id : graph().outputs(step.node)) {
      if (id != kNoValue && seen.insert(id).second) job.release[i].push_back(id);
    }
  }
  return job;
}

/// What the steps read, or the caller wants, that none of the steps makes.
std::vector<ValueId> Executor::InputsOf(const std::vector<int>& steps,
                                        const std::vector<ValueId>& wanted) const {
  std::set<ValueId> needed(wanted.begin(), wanted.end());
  std::set<ValueId> made;
  for (const int index : steps) {
    const Step& step = plan_.steps()[size_t(index)];
    const std::vector<ValueId> reads = ReadsOf(graph(), step);
    needed.insert(reads.begin(), reads.end());
    made.insert(graph().outputs(step.node).begin(), graph().outputs(step.node).end());
  }
  std::vector<ValueId> inputs;
  for (const ValueId id : needed) {
    if (id != kNoValue && !plan_.IsConstant(id) && !made.contains(id)) inputs.push_back(id);
  }
  return inputs;
}

Tensor Executor::EvaluateConstant(ValueId id, const Values& overrides, Values& known) const {
  if (const auto found = overrides.find(id); found != overrides.end()) return found->second;
  if (const auto found = known.find(id); found != known.end()) return found->second;
  const Value& value = graph().value(id);
  if (value.constant != nullptr) {
    const WeightReader& weights = graph().model().weights();
    const Tensor stored = weights.Read(*value.constant);
    const Tensor wide = stored.Widened();
    if (wide.dtype() != stored.dtype()) weights.Drop(*value.constant);
    return known[id] = wide;
  }
  const Step& step = plan_.steps()[size_t(value.producer)];
  std::vector<Tensor> inputs;
  for (const ValueId input : step.inputs) {
    inputs.push_back(input == kNoValue ? Tensor() : EvaluateConstant(input, overrides, known));
  }
  const auto& outputs = graph().outputs(step.node);
  KernelContext context(std::move(inputs), outputs.size(), std::vector<bool>(outputs.size(), true));
  WithNode(graph().nodes()[size_t(step.node)], [&] { step.kernel->Run(context); });
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i] != kNoValue) known[outputs[i]] = std::move(context.outputs()[i]);
  }
  return known.at(id);
}

/// Whether the node gathers from a stored table.
bool Executor::IsTable(int node) const {
  const ValueId data = graph().inputs(node).empty() ? kNoValue : graph().inputs(node)[0];
  return data != kNoValue && graph().value(data).constant != nullptr &&
         graph().nodes()[size_t(node)].op_type() == "Gather";
}

Values Executor::LoadConstants(const Job& job, const Values& overrides) const {
  Values known;
  Values constants;
  const auto load = [&](ValueId id) {
    if (id != kNoValue && plan_.IsConstant(id) && !constants.contains(id)) {
      constants[id] = EvaluateConstant(id, overrides, known);
    }
  };
  std::vector<ValueId> tables;
  for (const int step : job.steps) {
    const int node = plan_.steps()[size_t(step)].node;
    const auto& inputs = plan_.steps()[size_t(step)].inputs;
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (i == 0 && IsTable(node) && !overrides.contains(inputs[0])) {
        tables.push_back(inputs[0]);
      } else {
        load(inputs[i]);
      }
    }
    for (const ValueId id : graph().captures(node)) load(id);
  }
  for (const ValueId id : job.goals) load(id);
  for (const ValueId id : job.taps) load(id);
  // Of a table a few rows are read: they are widened when they have been gathered.
  for (const ValueId id : tables) {
    if (constants.contains(id)) continue;
    constants[id] = graph().model().weights().Read(*graph().value(id).constant);
  }
  return constants;
}

Tensor Executor::LoadConstant(ValueId id) const {
  Values known;
  return EvaluateConstant(id, {}, known);
}

void Executor::DropWeights(const Segment& segment) const {
  const WeightReader& weights = graph().model().weights();
  ForEachStored(plan_, segment,
                [&](const Step&, const onnx::TensorProto& stored) { weights.Drop(stored); });
}

void Executor::PrefetchWeights(const Segment& segment) const {
  const WeightReader& weights = graph().model().weights();
  ForEachStored(plan_, segment, [&](const Step& step, const onnx::TensorProto& stored) {
    if (!IsTable(step.node)) weights.Prefetch(stored);
  });
}

void Executor::DropTables(const Job& job) const {
  for (const int index : job.steps) {
    const int node = plan_.steps()[size_t(index)].node;
    if (!IsTable(node)) continue;
    graph().model().weights().Drop(*graph().value(graph().inputs(node)[0]).constant);
  }
}

std::vector<ValueId> Executor::TablesOf(const Segment& segment) const {
  std::vector<ValueId> tables;
  for (int i = segment.begin; i < segment.end; ++i) {
    const int node = plan_.steps()[size_t(i)].node;
    if (IsTable(node)) tables.push_back(graph().inputs(node)[0]);
  }
  return tables;
}

std::vector<Tensor> Executor::RunBranch(const Step& step, const std::vector<Tensor>& inputs,
                                        const std::function<Tensor(ValueId)>& lookup) const {
  const bool condition = inputs.at(0).data<bool>()[0];
  const Branch& branch = *step.branches[condition ? 0 : 1];
  const Graph& inner = *branch.graph;
  Values feeds;
  for (size_t id = 0; id < inner.values().size(); ++id) {
    const Value& value = inner.values()[id];
    if (!value.captured || (value.uses.empty() && !value.graph_output)) continue;
    feeds[ValueId(id)] = lookup(graph().Find(value.name));
  }
  Values outputs = branch.executor->RunAll(std::move(feeds));
  std::vector<Tensor> results;
  results.reserve(inner.graph_outputs().size());
  for (const ValueId id : inner.graph_outputs()) results.push_back(outputs.at(id));
  return results;
}

void Executor::RunStep(const Step& step, std::vector<Tensor>& table, const Values& constants,
                       const std::vector<ValueId>& release) const {
  const auto lookup = [&](ValueId id) {
    return plan_.IsConstant(id) ? constants.at(id) : table[size_t(id)];
  };
  std::vector<Tensor> inputs;
  for (const ValueId id : step.inputs) {
    inputs.push_back(id == kNoValue ? Tensor() : lookup(id));
  }
  const auto& outputs = graph().outputs(step.node);
  std::vector<Tensor> results;
  const Node& node = graph().nodes()[size_t(step.node)];
  if (step.kernel == nullptr) {
    results = RunBranch(step, inputs, lookup);
  } else {
    // Released before the kernel runs: a dying input is then the context's alone, to write in
    // place.
    for (const ValueId id : release) table[size_t(id)] = Tensor();
    std::vector<bool> wanted(outputs.size());
    std::transform(outputs.begin(), outputs.end(), wanted.begin(),
                   [](ValueId id) { return id != kNoValue; });
    KernelContext context(std::move(inputs), outputs.size(), std::move(wanted));
    WithNode(node, [&] { step.kernel->Run(context); });
    results = std::move(context.outputs());
  }
  for (size_t i = 0; i < outputs.size() && i < results.size(); ++i) {
    if (outputs[i] == kNoValue) continue;
    table[size_t(outputs[i])] = results[i].defined() ? results[i].Widened() : Tensor();
  }
}

Values Executor::Run(const Job& job, const Values& constants, Values inputs, const Tap& tap) const {
  Values results = Walk(job, std::move(inputs), tap, [&](size_t i, std::vector<Tensor>& table) {
    RunStep(plan_.steps()[size_t(job.steps[i])], table, constants, job.release[i]);
  });
  for (const ValueId id : job.goals) {
    if (plan_.IsConstant(id)) results[id] = constants.at(id);
  }
  return results;
}

Values Executor::Walk(const Job& job, Values inputs, const Tap& tap,
                      const std::function<void(size_t, std::vector<Tensor>&)>& run_step) const {
  std::vector<Tensor> table(graph().values().size());
  for (auto& [id, tensor] : inputs) table[size_t(id)] = std::move(tensor);
  inputs.clear();
  const std::set<ValueId> taps(job.taps.begin(), job.taps.end());
  for (const ValueId id : taps) {
    if (table[size_t(id)].defined()) tap(id, table[size_t(id)]);
  }
  for (size_t i = 0; i < job.steps.size(); ++i) {
    const Step& step = plan_.steps()[size_t(job.steps[i])];
    run_step(i, table);
    const auto& outputs = graph().outputs(step.node);
    for (const ValueId id : outputs) {
      if (id != kNoValue && taps.contains(id)) tap(id, table[size_t(id)]);
    }
    for (const ValueId id : job.release[i]) {
      const bool own = std::ranges::find(outputs, id) != outputs.end();
      if (own || step.kernel == nullptr) table[size_t(id)] = Tensor();
    }
  }
  Values results;
  for (const ValueId id : job.goals) {
    if (!plan_.IsConstant(id)) results[id] = table[size_t(id)];
  }
  return results;
}

Values Executor::RunAll(Values inputs, const Values& overrides) const {
  for (auto& [id, tensor] : inputs) tensor = tensor.Widened();
  for (const Segment& segment : plan_.segments()) {
    std::vector<ValueId> goals = segment.live_out;
    if (&segment == &plan_.segments().back()) goals = graph().graph_outputs();
    const Job job = MakeJob(segment, std::move(goals), {});
    inputs = RunOnce(job, overrides, {}, std::move(inputs));
    DropWeights(segment);
  }
  return inputs;
}

}  // namespace ptq
