// Collects the names of values and nodes, also from the graphs within a graph.
#include "ptq/model/graph_names.h"

namespace ptq {
namespace {

void Collect(const onnx::GraphProto& graph, std::set<std::string>& names) {
  for (const auto& value : graph.input()) names.insert(value.name());
  for (const auto& tensor : graph.initializer()) names.insert(tensor.name());
  for (const auto& node : graph.node()) {
    names.insert(node.name());
    names.insert(node.input().begin(), node.input().end());
    names.insert(node.output().begin(), node.output().end());
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_g()) Collect(attribute.g(), names);
    }
  }
}

}  // namespace

std::set<std::string> NamesIn(const onnx::GraphProto& graph) {
  std::set<std::string> names;
  Collect(graph, names);
  return names;
}

}  // namespace ptq
