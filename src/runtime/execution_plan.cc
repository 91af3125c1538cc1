#include "ptq/runtime/execution_plan.h"

#include <algorithm>
#include <set>

#include "attention_fusion.h"
#include "segments.h"

#include "ptq/base/error.h"
#include "ptq/runtime/executor.h"

namespace ptq {
namespace {

bool IsRandom(const Node& node) {
  return node.op_type().starts_with("Random") || node.op_type() == "Bernoulli" ||
         node.op_type() == "Multinomial";
}

std::vector<std::string> NamesOf(const Graph& graph) {
  std::vector<std::string> names;
  for (const Value& value : graph.values()) names.push_back(value.name);
  return names;
}

}  // namespace

std::vector<ValueId> ReadsOf(const Graph& graph, const Step& step) {
  std::vector<ValueId> reads = step.inputs;
  std::erase(reads, kNoValue);
  const auto& captures = graph.captures(step.node);
  reads.insert(reads.end(), captures.begin(), captures.end());
  return reads;
}

Branch::Branch(const Graph& outer, const onnx::GraphProto& proto)
    : graph(std::make_unique<Graph>(outer.model(), proto, NamesOf(outer))),
      executor(std::make_unique<Executor>(*graph)) {}

Branch::~Branch() = default;

ExecutionPlan::ExecutionPlan(const Graph& graph) : graph_(&graph) {
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    const Node& node = graph.nodes()[i];
    Step step;
    step.node = int(i);
    step.inputs = graph.inputs(int(i));
    if (node.op_type() == "If" && node.domain().empty()) {
      for (const char* name : {"then_branch", "else_branch"}) {
        const onnx::GraphProto* body = node.Subgraph(name);
        if (body == nullptr) throw InputError("node '" + node.name() + "': no " + name);
        step.branches.push_back(std::make_unique<Branch>(graph, *body));
      }
    } else {
      step.kernel = CreateKernel(node);
    }
    steps_.push_back(std::move(step));
  }
  MarkConstants();
  FuseAttention(graph, constant_, steps_);
  MarkAmbient();
  MakeSegments();
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
    const bool known = std::ranges::all_of(step.inputs, [&](ValueId id) {
      return id == kNoValue || constant_[size_t(id)] || ambient_[size_t(id)];
    });
    if (!known || !graph_->captures(step.node).empty()) continue;
    for (const ValueId id : graph_->outputs(step.node)) {
      if (id != kNoValue) ambient_[size_t(id)] = true;
    }
  }
}

void ExecutionPlan::MakeSegments() {
  segments_ = CutIntoSegments(*graph_, steps_, constant_, ambient_);
}

size_t ExecutionPlan::SegmentOf(ValueId id) const {
  const int producer = graph_->value(id).producer;
  for (size_t i = 0; i < segments_.size(); ++i) {
    if (producer < segments_[i].end) return i;
  }
  return 0;
}

std::vector<int> ExecutionPlan::StepsFor(const Segment& segment,
                                         const std::vector<ValueId>& goals) const {
  std::set<ValueId> needed(goals.begin(), goals.end());
  std::vector<int> steps;
  for (int i = segment.end - 1; i >= 0; --i) {
    const Step& step = steps_[size_t(i)];
    const auto& outputs = graph_->outputs(step.node);
    const bool earlier = i < segment.begin;
    const bool used = std::ranges::any_of(outputs, [&](ValueId id) {
      return id != kNoValue && needed.contains(id) && (!earlier || ambient_[size_t(id)]);
    });
    if (step.constant || !used) continue;
    steps.push_back(i);
    for (const ValueId id : ReadsOf(*graph_, step)) {
      if (!constant_[size_t(id)]) needed.insert(id);
    }
  }
  std::ranges::reverse(steps);
  return steps;
}

}  // namespace ptq
