// Runs the steps whose branch holds, shows taps, adds biases and releases what is read no more.
#include "pass.h"

#include <algorithm>
#include <utility>

#include "iterate.h"
#include "step_error.h"

#include "ptq/base/error.h"
#include "ptq/base/half.h"
#include "ptq/base/interrupt.h"
#include "ptq/runtime/refused_input.h"

namespace ptq {

Values Pass::Run(const Job& job, Values inputs) {
  for (auto& [id, tensor] : inputs) {
    table_[size_t(id)] = std::move(tensor);
    Round(id);
  }
  inputs.clear();
  Walk(job);
  Values results;
  for (const ValueId id : job.goals) {
    Tensor value = Lookup(id);
    if (value.defined()) results[id] = std::move(value);
  }
  return results;
}

Tensor Pass::Lookup(ValueId id) {
  return executor_.plan().IsConstant(id) ? Constant(id) : table_[size_t(id)];
}

bool Pass::Holds(const Step& step) {
  for (int at = graph().ScopeOf(step.node); graph().scope(at).is_branch();) {
    const Scope& branch = graph().scope(at);
    const Tensor condition = Lookup(branch.condition);
    if (!condition.defined()) return false;  // its own branch did not run
    if (condition.dtype() != DType::kBool || condition.size() != 1) {
      throw InputError("the condition of an If must be one bool");
    }
    if (condition.data<bool>()[0] != branch.polarity) return false;
    at = branch.parent;
  }
  return true;
}

void Pass::TapValue(const std::set<ValueId>& taps, ValueId id) {
  if (id == kNoValue || !taps.contains(id)) return;
  if (table_[size_t(id)].defined()) tap_(id, table_[size_t(id)]);
}

void Pass::AddTo(ValueId id) {
  const auto found = edits_.additions.find(id);
  if (found == edits_.additions.end() || !table_[size_t(id)].defined()) return;
  const auto vector = found->second.data<float>();
  const auto values = table_[size_t(id)].mutable_data<float>();
  for (size_t i = 0; i < values.size(); ++i) values[i] += vector[i % vector.size()];
}

void Pass::Round(ValueId id) {
  if (!executor_.halves_.contains(id)) return;
  Tensor& value = table_[size_t(id)];
  if (!value.defined() || value.dtype() != DType::kFloat32) return;
  const auto elements = value.mutable_data<float>();
  RoundToHalf(elements, elements);
}

void Pass::Walk(const Job& job) {
  std::set<ValueId> taps;
  for (const ValueId id : job.taps) {
    if (executor_.plan().BodyOf(id) == job.body) taps.insert(id);
  }
  for (const ValueId id : taps) TapValue(taps, id);
  for (size_t i = 0; i < job.steps.size(); ++i) {
    CheckInterrupt();
    const Step& step = StepOf(job, i);
    if (!Holds(step)) {
      Release(job, i);
      continue;
    }
    RunStep(job, i);
    const auto& outputs = graph().outputs(step.node);
    for (const ValueId id : outputs) AddTo(id);
    for (const ValueId id : outputs) Round(id);
    for (const ValueId id : outputs) TapValue(taps, id);
    for (const ValueId id : job.release[i]) {
      if (std::ranges::find(outputs, id) != outputs.end()) table_[size_t(id)] = Tensor();
    }
  }
}

void Pass::Release(const Job& job, size_t index) {
  for (const ValueId id : job.release[index]) table_[size_t(id)] = Tensor();
}

void Pass::Execute(const Job& job, size_t index) {
  const Step& step = StepOf(job, index);
  const Node& node = graph().nodes()[size_t(step.node)];
  std::vector<Tensor> inputs;
  for (const ValueId id : step.inputs) inputs.push_back(id == kNoValue ? Tensor() : Lookup(id));
  if (const auto edit = edits_.first_inputs.find(step.node); edit != edits_.first_inputs.end()) {
    inputs.front() = edit->second->Of(inputs.front());
  }
  const auto& outputs = graph().outputs(step.node);
  std::vector<Tensor> results;
  WithNode<RefusedInput>(node, [&] {
    if (step.kernel == nullptr) {
      const Job& body = *std::ranges::find(job.bodies, graph().BodyIn(step.node), &Job::body);
      results = Iterate(graph(), step.node, std::move(inputs), [&](std::vector<Tensor> formal) {
        return RunBody(body, std::move(formal));
      });
      Release(job, index);
      return;
    }
    // Released before the kernel runs: a dying input is then the context's alone, to write in
    // place.
    Release(job, index);
    std::vector<bool> wanted(outputs.size());
    std::transform(outputs.begin(), outputs.end(), wanted.begin(),
                   [](ValueId id) { return id != kNoValue; });
    KernelContext context(std::move(inputs), outputs.size(), std::move(wanted));
    step.kernel->Run(context);
    results = std::move(context.outputs());
  });
  for (size_t i = 0; i < outputs.size() && i < results.size(); ++i) {
    if (outputs[i] == kNoValue) continue;
    table_[size_t(outputs[i])] = results[i].defined() ? results[i].Widened() : Tensor();
  }
}

/// One iteration: `inputs` are those of the body, in its order.
std::vector<Tensor> Pass::RunBody(const Job& job, std::vector<Tensor> inputs) {
  CheckInterrupt();  // a body may have no step
  const Scope& scope = graph().scope(job.body);
  for (size_t i = 0; i < scope.inputs.size(); ++i) {
    table_[size_t(scope.inputs[i])] = std::move(inputs[i]);
    Round(scope.inputs[i]);
  }
  Walk(job);
  std::vector<Tensor> results;
  for (const ValueId id : scope.outputs) results.push_back(Lookup(id));
  // Nothing of an iteration may be seen by the next one.
  for (const auto* list : {&scope.inputs, &scope.outputs}) {
    for (const ValueId id : *list) {
      if (executor_.plan().BodyOf(id) == job.body) table_[size_t(id)] = Tensor();
    }
  }
  return results;
}

}  // namespace ptq
