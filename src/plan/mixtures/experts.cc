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

}  // namespace

std::string WhyExpertsDiffer(const std::vector<Linear*>& all) {
  const Linear& first = *all.front();
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

void UniteExperts(const Graph& graph, std::vector<Linear>& linears) {
  std::map<int, std::vector<Linear*>> nodes;
  for (Linear& linear : linears) {
    if (linear.place.form >= 0) nodes[linear.place.form].push_back(&linear);
  }
  for (const auto& [form, all] : nodes) {
    const bool are_all =
        int64_t(all.size()) == 2 * graph.value(all.front()->stored).constant->dims(0);
    const std::string why = are_all ? WhyExpertsDiffer(all)
                                    : "weights of several experts in one node that are not read "
                                      "where they are stored";
    if (why.empty()) continue;
    for (Linear* linear : all) {
      if (linear->decision.quantizes()) Keep(*linear, why);
    }
  }
}

}  // namespace ptq
