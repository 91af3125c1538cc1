// Makes each node's kernel, marks constant and ambient values, and lists the steps to a goal.
#include "ptq/runtime/execution_plan.h"

#include <algorithm>
#include <set>

#include "attention_fusion.h"
#include "segments.h"

namespace ptq {
namespace {

bool IsRandom(const Node& node) {
  return node.op_type().starts_with("Random") || node.op_type() == "Bernoulli" ||
         node.op_type() == "Multinomial";
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
    if (graph.BodyIn(int(i)) < 0) step.kernel = CreateKernel(graph.nodes()[i]);
    steps_.push_back(std::move(step));
  }
  MarkConstants();
  FuseAttention(graph, constant_, steps_);
  MarkAmbient();
  segments_ = CutIntoSegments(*graph_, steps_, constant_, ambient_);
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
  const std::vector<int> products = FindWeightProducts(*graph_, steps_, constant_);
  const std::set<int> weighted(products.begin(), products.end());
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    if (step.constant || step.kernel == nullptr || weighted.contains(int(i))) continue;
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

size_t ExecutionPlan::SegmentOf(ValueId id) const {
  const int producer = graph_->value(id).producer;
  for (size_t i = 0; i < segments_.size(); ++i) {
    if (producer < segments_[i].end) return i;
  }
  return 0;
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
  std::set<ValueId> needed(goals.begin(), goals.end());
  std::set<int> owners;
  for (const ValueId id : goals) owners.insert(OwnerWithin(body, id));
  std::vector<int> steps;
  for (int i = end - 1; i >= first; --i) {
    const Step& step = steps_[size_t(i)];
    if (step.constant || graph_->BodyOf(graph_->ScopeOf(step.node)) != body) continue;
    const bool earlier = i < begin;
    const bool used = std::ranges::any_of(graph_->outputs(step.node), [&](ValueId id) {
      return id != kNoValue && needed.contains(id) && (!earlier || ambient_[size_t(id)]);
    });
    if (!used && (earlier || !owners.contains(i))) continue;
    steps.push_back(i);
    for (const ValueId id : ReadsOf(*graph_, step)) {
      if (!constant_[size_t(id)]) needed.insert(id);
    }
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
