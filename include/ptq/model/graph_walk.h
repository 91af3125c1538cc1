// Walks over the nodes of a graph and of the graphs within it, the names that they use, and an
// order in which they can run.
#pragma once

#include <optional>
#include <set>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <onnx/onnx_pb.h>

namespace ptq {

/// Calls visit(graph) for each graph that is an attribute of the node.
template <class NodeProto, class Visitor>
void ForEachSubgraph(NodeProto& node, const Visitor& visit) {
  if constexpr (std::is_const_v<NodeProto>) {
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_g()) visit(attribute.g());
      for (const auto& graph : attribute.graphs()) visit(graph);
    }
  } else {
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.has_g()) visit(*attribute.mutable_g());
      for (auto& graph : *attribute.mutable_graphs()) visit(graph);
    }
  }
}

/// Calls visit(graph) for a graph, and behind it for those within it, to any depth.
template <class GraphProto, class Visitor>
void ForEachGraph(GraphProto& graph, const Visitor& visit) {
  visit(graph);
  const auto inside = [&](auto& node) {
    ForEachSubgraph(node, [&](auto& inner) { ForEachGraph(inner, visit); });
  };
  if constexpr (std::is_const_v<GraphProto>) {
    for (const auto& node : graph.node()) inside(node);
  } else {
    for (auto& node : *graph.mutable_node()) inside(node);
  }
}

/// Calls visit(info) for each declaration of a value in a graph: of inputs, of outputs, and of what
/// is between.
template <class Visitor>
void ForEachDeclaration(onnx::GraphProto& graph, const Visitor& visit) {
  for (auto* infos : {graph.mutable_input(), graph.mutable_output(), graph.mutable_value_info()}) {
    for (onnx::ValueInfoProto& info : *infos) visit(info);
  }
}

/// Calls visit(node) for each of the nodes of a graph or of a function, and behind each for those
/// of its subgraphs, to any depth. Takes the list itself: graph.node() or *graph.mutable_node().
template <class Nodes, class Visitor>
void ForEachNode(Nodes& nodes, const Visitor& visit) {
  for (auto& node : nodes) {
    visit(node);
    ForEachSubgraph(node, [&](auto& graph) {
      if constexpr (std::is_const_v<Nodes>) {
        ForEachNode(graph.node(), visit);
      } else {
        ForEachNode(*graph.mutable_node(), visit);
      }
    });
  }
}

/// Names that a graph uses but does not define (captured from outer scopes), in first-use order.
[[nodiscard]] std::vector<std::string> FreeNames(const onnx::GraphProto& graph);

/// Everything that a node reads: its inputs, and what its subgraphs capture.
[[nodiscard]] std::vector<std::string> NamesRead(const onnx::NodeProto& node);

/// Everything that is defined or read in a graph and in all graphs inside it, names of nodes
/// included: initializers that have been taken out are known by who reads them.
[[nodiscard]] std::set<std::string> NamesIn(const onnx::GraphProto& graph);

/// The nodes' indices, producers before consumers; of those that are ready always the first, so
/// that sorted nodes keep their order. Nothing when there is a cycle.
[[nodiscard]] std::optional<std::vector<int>> TopologicalOrder(
    std::span<const onnx::NodeProto* const> nodes);

}  // namespace ptq
