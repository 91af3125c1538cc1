// Follows constants through the nodes of a graph.
#include "bundle/constant_nodes.h"

#include <algorithm>
#include <string_view>

#include "ptq/model/graph_walk.h"
#include "ptq/model/node_builder.h"
#include "ptq/tensor/shape.h"
#include "ptq/tensor/tensor.h"
#include "ptq/transform/tensor_store.h"

namespace ptq {
namespace {

/// Operators whose results differ from run to run.
bool IsRandom(std::string_view op_type) {
  return op_type.starts_with("Random") || op_type == "Multinomial" || op_type == "Bernoulli" ||
         op_type == "Dropout";
}

bool HasSubgraph(const onnx::NodeProto& node) {
  return std::ranges::any_of(node.attribute(), [](const onnx::AttributeProto& attribute) {
    return attribute.has_g() || attribute.graphs_size() > 0;
  });
}

}  // namespace

bool IsQuantizeOrDequantize(const onnx::NodeProto& node) {
  return node.op_type() == "DequantizeLinear" || node.op_type() == "QuantizeLinear";
}

bool IsSmallTensor(const onnx::TensorProto& tensor) {
  int64_t elements = 1;
  for (const int64_t dim : tensor.dims()) elements *= std::min(dim, kSmallestExternal);
  const int bits = BitsOf(static_cast<DType>(tensor.data_type()));
  return elements * std::max(bits, 8) < 8 * kSmallestExternal;
}

GraphIndex::GraphIndex(const onnx::GraphProto& of) : graph(of) {
  for (const auto& input : of.input()) inputs.insert(input.name());
  for (const auto& output : of.output()) outputs.insert(output.name());
  for (const auto& tensor : of.initializer()) initializers[tensor.name()] = &tensor;
  for (int i = 0; i < of.node_size(); ++i) {
    reads.push_back(NamesRead(of.node(i)));
    std::erase(reads.back(), "");
    for (const auto& output : of.node(i).output()) {
      if (!output.empty()) producers[output] = i;
    }
  }
  FindConstant();
  FindOutside();
}

int GraphIndex::ProducerOf(const std::string& value) const {
  const auto found = producers.find(value);
  return found == producers.end() ? -1 : found->second;
}

void GraphIndex::FindConstant() {
  for (int i = 0; i < graph.node_size(); ++i) {
    const onnx::NodeProto& node = graph.node(i);
    const auto& read = reads[size_t(i)];
    if (HasSubgraph(node) || !node.domain().empty() || IsRandom(node.op_type())) continue;
    if (read.empty() && node.op_type() != "Constant") continue;
    const bool given = std::ranges::any_of(
        node.output(), [&](const std::string& name) { return outputs.contains(name); });
    const bool from_constants = std::ranges::all_of(read, [&](const std::string& name) {
      return (initializers.contains(name) && !inputs.contains(name)) ||
             constant.contains(ProducerOf(name));
    });
    if (!given && from_constants) constant.insert(i);
  }
}

/// From the last node to the first for what must stay with an operator on codes, then forwards.
void GraphIndex::FindOutside() {
  std::unordered_set<int> stays;
  for (int i = graph.node_size() - 1; i >= 0; --i) {
    const bool keeps = IsQuantizeOrDequantize(graph.node(i)) || stays.contains(i);
    if (!keeps) continue;
    if (constant.contains(i)) stays.insert(i);
    for (const std::string& name : reads[size_t(i)]) {
      const int producer = ProducerOf(name);
      if (constant.contains(producer)) stays.insert(producer);
    }
  }
  for (int i = 0; i < graph.node_size(); ++i) {
    if (!constant.contains(i) || stays.contains(i)) continue;
    const auto* const value = ConstantOf(graph.node(i));
    bool large = value != nullptr && !IsSmallTensor(*value);
    bool possible = true;
    for (const std::string& name : reads[size_t(i)]) {
      const auto tensor = initializers.find(name);
      const int producer = ProducerOf(name);
      if (tensor != initializers.end()) {
        large = large || !IsSmallTensor(*tensor->second);
      } else {
        large = large || outside.contains(producer);
        possible = possible && !stays.contains(producer);
      }
    }
    if (large && possible) outside.insert(i);
  }
}

}  // namespace ptq
