// Looks whether the experts of each node can have codes together.
#include <algorithm>
#include <map>
#include <string>

#include "decide.h"

namespace ptq {
namespace {

bool HaveOneForm(const Decision& a, const Decision& b) {
  return a.form == b.form && a.spec().bits == b.spec().bits &&
         a.spec().group_size == b.spec().group_size && a.spec().symmetric == b.spec().symmetric;
}

/// Why the experts of a node stay; empty when they get codes.
std::string WhyExpertsStay(const Graph& graph, const std::vector<Linear*>& all) {
  const Linear& first = *all.front();
  if (int64_t(all.size()) != 2 * graph.value(first.stored).constant->dims(0)) {
    return "weights of several experts in one node that are not read where they are stored";
  }
  for (const Linear* linear : all) {
    if (!linear->decision.quantizes()) {
      return "QMoE holds all experts of a node, and '" + linear->name + "' gets no codes";
    }
    if (!HaveOneForm(linear->decision, first.decision)) {
      return "QMoE has codes of one kind, and those of '" + first.name + "' and '" + linear->name +
             "' would differ";
    }
  }
  return "";
}

}  // namespace

void UniteExperts(const Graph& graph, std::vector<Linear>& linears) {
  std::map<int, std::vector<Linear*>> nodes;
  for (Linear& linear : linears) {
    if (linear.IsExpert()) nodes[linear.place.form].push_back(&linear);
  }
  for (const auto& [form, all] : nodes) {
    const std::string why = WhyExpertsStay(graph, all);
    if (why.empty()) continue;
    for (Linear* linear : all) {
      if (linear->decision.quantizes()) Keep(*linear, why);
    }
  }
}

}  // namespace ptq
