// Collects the names that nodes and graphs use, and sorts nodes with Kahn's algorithm.
#include "ptq/model/graph_walk.h"

#include <functional>
#include <queue>
#include <unordered_map>
#include <utility>

namespace ptq {

std::vector<std::string> FreeNames(const onnx::GraphProto& graph) {
  std::set<std::string> defined, found;
  for (const auto& input : graph.input()) defined.insert(input.name());
  for (const auto& tensor : graph.initializer()) defined.insert(tensor.name());
  for (const auto& node : graph.node()) {
    defined.insert(node.output().begin(), node.output().end());
  }
  std::vector<std::string> free_names;
  const auto add = [&](const std::string& name) {
    if (name.empty() || defined.contains(name)) return;
    if (found.insert(name).second) free_names.push_back(name);
  };
  for (const auto& node : graph.node()) {
    for (const auto& name : NamesRead(node)) add(name);
  }
  for (const auto& output : graph.output()) add(output.name());
  return free_names;
}

std::vector<std::string> NamesRead(const onnx::NodeProto& node) {
  std::vector<std::string> names;
  for (const std::string& name : node.input()) {
    if (!name.empty()) names.push_back(name);
  }
  ForEachSubgraph(node, [&](const onnx::GraphProto& graph) {
    for (std::string& name : FreeNames(graph)) names.push_back(std::move(name));
  });
  return names;
}

std::set<std::string> NamesIn(const onnx::GraphProto& main) {
  std::set<std::string> names;
  ForEachGraph(main, [&](const onnx::GraphProto& graph) {
    for (const auto& value : graph.input()) names.insert(value.name());
    for (const auto& tensor : graph.initializer()) names.insert(tensor.name());
    for (const auto& node : graph.node()) {
      names.insert(node.name());
      names.insert(node.input().begin(), node.input().end());
      names.insert(node.output().begin(), node.output().end());
    }
  });
  return names;
}

std::optional<std::vector<int>> TopologicalOrder(std::span<const onnx::NodeProto* const> nodes) {
  const auto count = int(nodes.size());
  std::unordered_map<std::string, int> producer;
  for (int i = 0; i < count; ++i) {
    for (const std::string& name : nodes[size_t(i)]->output()) {
      if (!name.empty()) producer[name] = i;
    }
  }
  std::vector<int> waits(nodes.size(), 0);
  std::vector<std::vector<int>> blocks(nodes.size());
  for (int i = 0; i < count; ++i) {
    for (const std::string& name : NamesRead(*nodes[size_t(i)])) {
      const auto found = producer.find(name);
      if (found == producer.end()) continue;
      blocks[size_t(found->second)].push_back(i);
      ++waits[size_t(i)];
    }
  }
  std::priority_queue<int, std::vector<int>, std::greater<>> ready;
  for (int i = 0; i < count; ++i) {
    if (waits[size_t(i)] == 0) ready.push(i);
  }
  std::vector<int> order;
  order.reserve(nodes.size());
  while (!ready.empty()) {
    const int i = ready.top();
    ready.pop();
    order.push_back(i);
    for (const int next : blocks[size_t(i)]) {
      if (--waits[size_t(next)] == 0) ready.push(next);
    }
  }
  if (order.size() != nodes.size()) return std::nullopt;
  return order;
}

}  // namespace ptq
