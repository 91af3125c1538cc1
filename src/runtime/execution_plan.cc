// Makes each node's kernel, marks constant and ambient values, and lists the steps to a goal.
#include "ptq/runtime/execution_plan.h"

#include <algorithm>
#include <set>

#include "attention_fusion.h"
#include "gathered_product.h"
#include "segments.h"

#include "ptq/base/error.h"

namespace ptq {
namespace {

bool IsRandom(const Node& node) {
  return node.op_type().starts_with("Random") || node.op_type() == "Bernoulli" ||
         node.op_type() == "Multinomial";
}

/// Null when the operator is unknown, or is one of a form that this build cannot run.
std::unique_ptr<Kernel> KernelOrNone(const Node& node) {
  if (!HasKernel(node)) return nullptr;
  try {
    return CreateKernel(node);
  } catch (const UnsupportedError&) {
    return nullptr;  // RequireKernel says why
  }
}

}  // namespace

std::vector<ValueId> ConditionsOf(const Graph& graph, int node) {
  std::vector<ValueId> conditions;
  int scope = graph.ScopeOf(node);
  for (; graph.scope(scope).is_branch(); scope = graph.scope(scope).parent) {
    conditions.push_back(graph.scope(scope).condition);
  }
  return conditions;
}

std::vector<ValueId> ReadsOf(const Graph& graph, const Step& step) {
  std::vector<ValueId> reads = step.inputs;
  std::erase(reads, kNoValue);
  const std::vector<ValueId> conditions = ConditionsOf(graph, step.node);
  for (const auto* others : {&graph.captures(step.node), &conditions}) {
    reads.insert(reads.end(), others->begin(), others->end());
  }
  return reads;
}

ExecutionPlan::ExecutionPlan(const Graph& graph) : graph_(&graph) {
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    Step step;
    step.node = int(i);
    step.inputs = graph.inputs(int(i));
    if (graph.BodyIn(int(i)) < 0) step.kernel = KernelOrNone(graph.nodes()[i]);
    steps_.push_back(std::move(step));
  }
  MarkConstants();
  FuseAttention(graph, constant_, steps_);
  FuseGatheredProducts(graph, constant_, steps_);
  MarkAmbient();
  segments_ = CutIntoSegments(*graph_, steps_, constant_, ambient_);
}

void ExecutionPlan::RequireKernel(int step) const {
  if (!CanRun(step)) (void)CreateKernel(graph_->nodes()[size_t(step)]);
}

void ExecutionPlan::RequireKernels() const {
  for (size_t i = 0; i < steps_.size(); ++i) RequireKernel(int(i));
}

void ExecutionPlan::MarkConstants() {
  constant_.assign(graph_->values().size(), false);
  for (size_t id = 0; id < constant_.size(); ++id) {
    constant_[id] = graph_->values()[id].constant != nullptr;
  }
  for (Step& step : steps_) {
    const auto known = [&](ValueId id) { return id == kNoValue || constant_[size_t(id)]; };
    step.constant = step.kernel != nullptr && !IsRandom(graph_->nodes()[size_t(step.node)]) &&
                    std::ranges::all_of(step.inputs, known);
    if (!step.constant) continue;
    for (const ValueId id : graph_->outputs(step.node)) {
      if (id != kNoValue) constant_[size_t(id)] = true;
    }
  }
}

void ExecutionPlan::MarkAmbient() {
  ambient_.assign(graph_->values().size(), false);
  for (const ValueId id : graph_->graph_inputs()) ambient_[size_t(id)] = true;
  const std::vector<int> products = FindWeightProducts(*graph_, steps_);
  std::vector<bool> weighted(steps_.size(), false);
  for (const int product : products) weighted[size_t(product)] = true;
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    if (step.constant || step.kernel == nullptr || weighted[i]) continue;
    if (IsRandom(graph_->nodes()[size_t(step.node)])) continue;
    const bool known = std::ranges::all_of(ReadsOf(*graph_, step), [&](ValueId id) {
      return constant_[size_t(id)] || ambient_[size_t(id)];
    });
    if (!known) continue;
    for (const ValueId id : graph_->outputs(step.node)) {
      if (id != kNoValue) ambient_[size_t(id)] = true;
    }
  }
}

size_t ExecutionPlan::SegmentOfStep(int step) const {
  return size_t(std::ranges::upper_bound(segments_, step, {}, &Segment::end) - segments_.begin());
}

/// The node of `body` that has the value in a body of its own, however deep; -1 when none has.
int ExecutionPlan::OwnerWithin(int body, ValueId id) const {
  int at = BodyOf(id);
  int owner = -1;
  while (at != body) {
    owner = graph_->scope(at).owner;
    if (owner < 0) return -1;
    at = graph_->BodyOf(graph_->ScopeOf(owner));
  }
  return owner;
}

/// Steps of a body (or the main graph) for some goals: those of [begin, end), and of [first, begin)
/// what is ambient.
std::vector<int> ExecutionPlan::StepsIn(int body, int begin, int end, int first,
                                        const std::vector<ValueId>& goals) const {
  std::set<int> wanted;  // the last one is next: what it reads is made in front of it
  const auto want = [&](int step, bool ambient) {
    if (step < first || step >= end || (step < begin && !ambient)) return;
    if (graph_->BodyOf(graph_->ScopeOf(step)) == body) wanted.insert(step);
  };
  const auto need = [&](ValueId id) {
    if (!constant_[size_t(id)]) want(graph_->value(id).producer, ambient_[size_t(id)]);
  };
  for (const ValueId id : goals) {
    need(id);
    want(OwnerWithin(body, id), false);
  }
  std::vector<int> steps;
  while (!wanted.empty()) {
    const int step = *wanted.rbegin();
    wanted.erase(step);
    steps.push_back(step);
    for (const ValueId id : ReadsOf(*graph_, steps_[size_t(step)])) need(id);
  }
  std::ranges::reverse(steps);
  return steps;
}

std::vector<int> ExecutionPlan::StepsFor(const Segment& segment,
                                         const std::vector<ValueId>& goals) const {
  return StepsIn(0, segment.begin, segment.end, 0, goals);
}

std::vector<int> ExecutionPlan::StepsOfBody(int body, const std::vector<ValueId>& goals) const {
  const Scope& scope = graph_->scope(body);
  return StepsIn(body, scope.first, scope.owner, scope.first, goals);
}

}  // namespace ptq
