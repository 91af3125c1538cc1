// Replaces the names of values wherever a graph or a node says them.
#include "bundle/rename.h"

#include "ptq/model/graph_walk.h"

namespace ptq {
namespace {

void RenameOne(std::string& name, const NameMap& names) {
  const auto found = names.find(name);
  if (found != names.end()) name = found->second;
}

template <class Named>
void RenameEach(Named& list, const NameMap& names) {
  for (auto& entry : list) RenameOne(*entry.mutable_name(), names);
}

}  // namespace

void RenameValues(onnx::NodeProto& node, const NameMap& names) {
  if (names.empty()) return;
  for (auto& name : *node.mutable_input()) RenameOne(name, names);
  for (auto& name : *node.mutable_output()) RenameOne(name, names);
  ForEachSubgraph(node, [&](onnx::GraphProto& graph) { RenameValues(graph, names); });
}

void RenameValues(onnx::GraphProto& graph, const NameMap& names) {
  RenameEach(*graph.mutable_input(), names);
  RenameEach(*graph.mutable_output(), names);
  RenameEach(*graph.mutable_initializer(), names);
  RenameEach(*graph.mutable_value_info(), names);
  for (auto& node : *graph.mutable_node()) RenameValues(node, names);
}

}  // namespace ptq
