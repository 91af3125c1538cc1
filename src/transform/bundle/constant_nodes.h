// Which nodes of a graph compute from its initializers alone, and which of these belong outside of
// branches.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <onnx/onnx_pb.h>

namespace ptq {

/// A graph's nodes with what they read and who makes it.
struct GraphIndex {
  explicit GraphIndex(const onnx::GraphProto& of);

  /// Index of the node that makes a value; -1: an input or an initializer.
  [[nodiscard]] int ProducerOf(const std::string& value) const;

  const onnx::GraphProto& graph;
  std::vector<std::vector<std::string>> reads;  ///< by node, what its subgraphs capture included
  std::unordered_map<std::string, int> producers;
  std::unordered_map<std::string, const onnx::TensorProto*> initializers;
  std::unordered_set<std::string> inputs;   ///< of the graph, initializers that are listed included
  std::unordered_set<std::string> outputs;  ///< of the graph
  std::unordered_set<int> constant;
  std::unordered_set<int> outside;

 private:
  void FindConstant();
  void FindOutside();
};

/// Whether an operator turns codes into floats or back: a runtime wants its constants beside it.
[[nodiscard]] bool IsQuantizeOrDequantize(const onnx::NodeProto& node);

/// Whether a tensor is so small that each branch gets its own: runtimes look constants of few
/// elements up in the graph of their node only. From 1 KiB on it is shared.
[[nodiscard]] bool IsSmallTensor(const onnx::TensorProto& tensor);

}  // namespace ptq
