// Makes jobs with the points where values are released, and loads, folds and drops constants.
#include "ptq/runtime/executor.h"

#include <algorithm>
#include <set>

#include "pass.h"
#include "step_error.h"

#include "ptq/base/interrupt.h"
#include "ptq/base/progress.h"

namespace ptq {
namespace {

/// Calls body(step, constant) for every stored constant that a segment's steps read.
template <class Body>
void ForEachStored(const ExecutionPlan& plan, const Segment& segment, const Body& body) {
  for (int i = segment.begin; i < segment.end; ++i) {
    const Step& step = plan.steps()[size_t(i)];
    for (const ValueId id : ReadsOf(plan.graph(), step)) {
      const StoredTensor* const stored = plan.graph().value(id).constant;
      if (stored != nullptr) body(step, *stored);
    }
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
  FinishJob(job);
  return job;
}

/// What is released when, and the jobs of the bodies.
void Executor::FinishJob(Job& job) const {
  job.release.resize(job.steps.size());
  std::set<ValueId> seen(job.goals.begin(), job.goals.end());
  const auto release = [&](size_t i, ValueId id) {
    if (id == kNoValue || plan_.IsConstant(id) || plan_.BodyOf(id) != job.body) return;
    if (seen.insert(id).second) job.release[i].push_back(id);
  };
  for (size_t i = job.steps.size(); i-- > 0;) {
    plan_.RequireKernel(job.steps[i]);
    const Step& step = plan_.steps()[size_t(job.steps[i])];
    for (const ValueId id : ReadsOf(graph(), step)) release(i, id);
    // Outputs that nobody reads (an unused cache) go at once.
    for (const ValueId id : graph().outputs(step.node)) release(i, id);
    const int scope = graph().BodyIn(step.node);
    if (scope < 0) continue;
    Job& body = job.bodies.emplace_back();
    body.body = scope;
    body.goals = graph().scope(scope).outputs;
    body.taps = job.taps;
    std::vector<ValueId> wanted = body.goals;
    wanted.insert(wanted.end(), body.taps.begin(), body.taps.end());
    body.steps = plan_.StepsOfBody(scope, wanted);
    FinishJob(body);
  }
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
    if (id == kNoValue || plan_.IsConstant(id) || made.contains(id)) continue;
    if (plan_.BodyOf(id) == 0) inputs.push_back(id);
  }
  return inputs;
}

Tensor Executor::EvaluateConstant(ValueId id, const Values& overrides, Values& known) const {
  CheckInterrupt();
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
  WithNode<InputError>(graph().nodes()[size_t(step.node)], [&] { step.kernel->Run(context); });
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
  Values constants, known;
  LoadInto(constants, job, overrides, known);
  return constants;
}

void Executor::LoadInto(Values& constants, const Job& job, const Values& overrides,
                        Values& known) const {
  const auto load = [&](ValueId id) {
    if (id != kNoValue && plan_.IsConstant(id) && !constants.contains(id)) {
      constants[id] = EvaluateConstant(id, overrides, known);
    }
  };
  std::vector<ValueId> tables;
  for (const int index : job.steps) {
    const Step& step = plan_.steps()[size_t(index)];
    const bool table = IsTable(step.node) && !overrides.contains(step.inputs[0]);
    if (table) tables.push_back(step.inputs[0]);
    for (size_t i = table ? 1 : 0; i < step.inputs.size(); ++i) load(step.inputs[i]);
    for (const ValueId id : ConditionsOf(graph(), step.node)) load(id);
  }
  for (const ValueId id : job.goals) load(id);
  for (const ValueId id : job.taps) load(id);
  for (const Job& body : job.bodies) LoadInto(constants, body, overrides, known);
  // Of a table a few rows are read: they are widened when they have been gathered.
  for (const ValueId id : tables) {
    if (constants.contains(id)) continue;
    constants[id] = graph().model().weights().Read(*graph().value(id).constant);
  }
}

Tensor Executor::LoadConstant(ValueId id) const {
  Values known;
  return EvaluateConstant(id, {}, known);
}

void Executor::DropWeights(const Segment& segment) const {
  const WeightReader& weights = graph().model().weights();
  ForEachStored(plan_, segment,
                [&](const Step&, const StoredTensor& stored) { weights.Drop(stored); });
}

void Executor::PrefetchWeights(const Segment& segment) const {
  const WeightReader& weights = graph().model().weights();
  ForEachStored(plan_, segment, [&](const Step& step, const StoredTensor& stored) {
    if (!IsTable(step.node)) weights.Prefetch(stored);
  });
}

void Executor::DropTables(const Job& job) const {
  ForEachStep(job, [&](int node) {
    if (!IsTable(node)) return;
    graph().model().weights().Drop(*graph().value(graph().inputs(node)[0]).constant);
  });
}

std::vector<ValueId> Executor::TablesOf(const Segment& segment) const {
  std::vector<ValueId> tables;
  for (int i = segment.begin; i < segment.end; ++i) {
    const int node = plan_.steps()[size_t(i)].node;
    if (IsTable(node)) tables.push_back(graph().inputs(node)[0]);
  }
  return tables;
}

/// Constants are loaded before it begins.
class LoadedPass : public Pass {
 public:
  LoadedPass(const Executor& executor, const Tap& tap, const ValueEdits& edits,
             const Values& constants)
      : Pass(executor, tap, edits), constants_(constants) {}

 private:
  void RunStep(const Job& job, size_t index) override { Execute(job, index); }
  Tensor Constant(ValueId id) override { return constants_.at(id); }
  const Values& constants_;
};

Values Executor::Run(const Job& job, const Values& constants, Values inputs, const Tap& tap,
                     const ValueEdits& edits) const {
  return LoadedPass(*this, tap, edits, constants).Run(job, std::move(inputs));
}

void Executor::RoundToHalf(std::vector<ValueId> values) {
  halves_.insert(values.begin(), values.end());
}

Values Executor::RunAll(Values inputs, const Values& overrides) const {
  for (auto& [id, tensor] : inputs) tensor = tensor.Widened();
  for (const Segment& segment : plan_.segments()) {
    Progress::ShowDetail("segment " + std::to_string(&segment - plan_.segments().data() + 1) +
                         " of " + std::to_string(plan_.segments().size()));
    std::vector<ValueId> goals = segment.live_out;
    if (&segment == &plan_.segments().back()) goals = graph().graph_outputs();
    const Job job = MakeJob(segment, std::move(goals), {});
    inputs = RunOnce(job, overrides, {}, std::move(inputs));
    DropWeights(segment);
  }
  return inputs;
}

}  // namespace ptq
