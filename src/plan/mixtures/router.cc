// Follows a linear's output to a TopK or to the operator that mixes experts.
#include "mixtures/router.h"

#include <set>
#include <utility>

namespace ptq {
namespace {

/// More scores than this are a vocabulary or an image's points, not experts.
constexpr int64_t kMostExperts = 1024;
constexpr int kLongestPath = 10;

bool KeepsScores(const std::string& type) {
  static const std::set<std::string> kTypes = {
      "Softmax", "Sigmoid", "LogSoftmax", "Cast",      "Add",     "Mul",       "Div",
      "Sub",     "Reshape", "Squeeze",    "Unsqueeze", "Flatten", "Transpose", "Identity"};
  return kTypes.contains(type);
}

bool ReachesChoice(const Graph& graph, ValueId scores) {
  std::set<ValueId> reached = {scores};  // by so many nodes: paths that meet are one
  for (int length = 0; length <= kLongestPath && !reached.empty(); ++length) {
    std::set<ValueId> next;
    for (const ValueId id : reached) {
      for (const Use& use : graph.value(id).uses) {
        const std::string& type = graph.nodes()[size_t(use.node)].op_type();
        if (type == "TopK" && use.input == 0) return true;
        if ((type == "MoE" || type == "QMoE") && use.input == 1) return true;
        if (KeepsScores(type) && use.input >= 0) next.insert(graph.outputs(use.node)[0]);
      }
    }
    reached = std::move(next);
  }
  return false;
}

}  // namespace

bool IsRouter(const ExecutionPlan& execution, const Linear& linear) {
  if (linear.gather >= 0 || linear.n > kMostExperts || linear.n > linear.k) return false;
  return ReachesChoice(execution.graph(), execution.graph().outputs(linear.node)[0]);
}

}  // namespace ptq
