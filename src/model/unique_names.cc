// Counts up behind a name until nobody has it.
#include "ptq/model/unique_names.h"

#include "ptq/model/graph_walk.h"

namespace ptq {

UniqueNames::UniqueNames(const onnx::GraphProto& graph) {
  for (const std::string& name : NamesIn(graph)) Reserve(name);
}

std::string UniqueNames::Take(const std::string& wanted) {
  if (Reserve(wanted)) return wanted;
  int& next = next_.try_emplace(wanted, 2).first->second;
  std::string name;
  do {
    name = wanted + "_" + std::to_string(next++);
  } while (!Reserve(name));
  return name;
}

}  // namespace ptq
