// Follows a linear's output to a TopK or to the operator that mixes experts.
#include "router.h"

#include <algorithm>
#include <set>

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

bool ReachesChoice(const Graph& graph, ValueId id, int depth) {
  if (depth > kLongestPath) return false;
  return std::ranges::any_of(graph.value(id).uses, [&](const Use& use) {
    const std::string& type = graph.nodes()[size_t(use.node)].op_type();
    if (type == "TopK") return use.input == 0;
    if (type == "MoE" || type == "QMoE") return use.input == 1;
    return KeepsScores(type) && use.input >= 0 &&
           ReachesChoice(graph, graph.outputs(use.node)[0], depth + 1);
  });
}

}  // namespace

bool IsRouter(const ExecutionPlan& execution, const Linear& linear) {
  if (linear.gather >= 0 || linear.n > kMostExperts || linear.n > linear.k) return false;
  return ReachesChoice(execution.graph(), execution.graph().outputs(linear.node)[0], 0);
}

}  // namespace ptq
