// Follows a linear's output through operators that keep its classes, up to the graph's outputs.
#include "head.h"

#include <algorithm>
#include <set>
#include <utility>

namespace ptq {
namespace {

bool KeepsClasses(const std::string& type) {
  static const std::set<std::string> kTypes = {
      "Add",     "Sub",       "Mul",     "Div",        "Cast",           "Identity",
      "Reshape", "Tanh",      "Slice",   "Squeeze",    "Unsqueeze",      "Flatten",
      "Gather",  "Transpose", "Softmax", "LogSoftmax", "QuantizeLinear", "DequantizeLinear"};
  return kTypes.contains(type);
}

/// Adds what the users of a value make of it; false when one of them leads elsewhere than out.
bool Follow(const ExecutionPlan& execution, ValueId id, std::set<ValueId>& next) {
  const Graph& graph = execution.graph();
  const Value& value = graph.value(id);
  if (value.uses.empty()) return value.graph_output;
  return std::ranges::all_of(value.uses, [&](const Use& use) {
    const Node& node = graph.nodes()[size_t(use.node)];
    if (node.op_type() == "Shape") return true;
    const auto& outputs = graph.outputs(use.node);
    if (node.op_type() == "If" && use.input > 0) {  // as one of a branch's outputs
      next.insert(outputs[size_t(use.input - 1) % outputs.size()]);
      return true;
    }
    if (!KeepsClasses(node.op_type())) return false;
    // A second activation (a residual stream, a mask) means that this is not the end of the model.
    const bool alone = std::ranges::all_of(graph.inputs(use.node), [&](ValueId other) {
      if (other == kNoValue || other == id || execution.IsConstant(other)) return true;
      const int producer = graph.value(other).producer;
      const bool indices =
          node.op_type() == "Reshape" || node.op_type() == "Slice" || node.op_type() == "Gather";
      return producer >= 0 && indices;
    });
    if (alone) next.insert(outputs[0]);
    return alone;
  });
}

/// Whether all users of a value lead to graph outputs.
bool LeadsOut(const ExecutionPlan& execution, ValueId classes) {
  constexpr int kLongestTail = 12;
  std::set<ValueId> reached = {classes};  // by so many nodes: paths that meet are one
  for (int length = 0; length <= kLongestTail; ++length) {
    std::set<ValueId> next;
    const auto follow = [&](ValueId id) { return Follow(execution, id, next); };
    if (!std::ranges::all_of(reached, follow)) return false;
    if (next.empty()) return true;
    reached = std::move(next);
  }
  return false;
}

}  // namespace

bool IsHead(const ExecutionPlan& execution, const Linear& linear) {
  if (linear.n <= linear.k) return false;
  return LeadsOut(execution, execution.graph().outputs(linear.node)[0]);
}

}  // namespace ptq
