// Derives numbers of dimensions from declared shapes, constants and the operators between them.
#include "ptq/transform/tensor_ranks.h"

#include <algorithm>
#include <set>

#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

bool KeepsRank(const std::string& type) {
  static const std::set<std::string> kTypes = {"Abs",
                                               "Cast",
                                               "Ceil",
                                               "Clip",
                                               "Dropout",
                                               "Erf",
                                               "Exp",
                                               "Floor",
                                               "Gelu",
                                               "Identity",
                                               "LeakyRelu",
                                               "Log",
                                               "LogSoftmax",
                                               "LayerNormalization",
                                               "Neg",
                                               "Not",
                                               "Pad",
                                               "Reciprocal",
                                               "Relu",
                                               "Round",
                                               "ScatterElements",
                                               "ScatterND",
                                               "Sigmoid",
                                               "Sign",
                                               "Slice",
                                               "Softmax",
                                               "Softplus",
                                               "Split",
                                               "Sqrt",
                                               "Tanh",
                                               "Tile",
                                               "Trilu",
                                               "CumSum",
                                               "SimplifiedLayerNormalization"};
  return kTypes.contains(type);
}

bool Broadcasts(const std::string& type) {
  static const std::set<std::string> kTypes = {
      "Add", "Sub",   "Mul",  "Div",     "Pow", "Min",         "Max",           "And",
      "Or",  "Equal", "Less", "Greater", "Mod", "LessOrEqual", "GreaterOrEqual"};
  return kTypes.contains(type);
}

}  // namespace

TensorRanks::TensorRanks(const onnx::GraphProto& graph, int64_t opset, TensorRanks* outer)
    : opset_(opset), outer_(outer) {
  for (const auto& tensor : graph.initializer()) {
    known_[tensor.name()] = tensor.dims_size();
    constants_[tensor.name()] = &tensor;
  }
  for (const auto* list : {&graph.input(), &graph.output(), &graph.value_info()}) {
    for (const auto& info : *list) {
      if (info.type().has_tensor_type() && info.type().tensor_type().has_shape()) {
        known_[info.name()] = info.type().tensor_type().shape().dim_size();
      }
    }
  }
  for (const auto& node : graph.node()) {
    for (const auto& name : node.output()) producers_[name] = &node;
    if (const onnx::TensorProto* const constant = ConstantOf(node)) {
      known_[node.output(0)] = constant->dims_size();
      constants_[node.output(0)] = constant;
    }
  }
}

std::optional<int64_t> TensorRanks::Of(const std::string& name) {
  const auto found = known_.find(name);
  if (found != known_.end()) return found->second;
  known_[name] = std::nullopt;  // also ends the walk in a (malformed) cycle
  const auto producer = producers_.find(name);
  if (producer == producers_.end()) {
    if (outer_ != nullptr) known_[name] = outer_->Of(name);
    return known_[name];
  }
  const auto rank = OfNode(*producer->second);
  known_[name] = rank;
  return rank;
}

std::optional<int64_t> TensorRanks::Broadcast(const onnx::NodeProto& node) {
  int64_t largest = 0;
  for (const std::string& name : node.input()) {
    const auto rank = Of(name);
    if (!rank.has_value()) return std::nullopt;
    largest = std::max(largest, *rank);
  }
  return largest;
}

std::optional<int64_t> TensorRanks::OfNode(const onnx::NodeProto& node) {
  const std::string& type = node.op_type();
  if (!node.domain().empty()) return std::nullopt;
  if (node.input_size() == 0) return std::nullopt;
  if (KeepsRank(type)) return Of(node.input(0));
  if (Broadcasts(type) || type == "Where") return Broadcast(node);
  if (type == "MatMul") {
    const auto rank = Broadcast(node);
    const auto a = Of(node.input(0)), b = Of(node.input(1));
    return rank.has_value() && *a >= 2 && *b >= 2 ? rank : std::nullopt;
  }
  if (type == "Gemm" || type == "Flatten") return 2;
  if (type == "Shape") return 1;
  if (type == "Transpose") {
    const auto* perm = FindAttribute(node, "perm");
    return perm != nullptr ? perm->ints_size() : Of(node.input(0));
  }
  if (type == "Concat") {
    for (const auto& name : node.input()) {
      if (const auto rank = Of(name)) return rank;
    }
  }
  if (type == "Reshape") return LengthOf(node.input(1));
  if (type == "Expand") {
    const auto rank = Of(node.input(0)), target = LengthOf(node.input(1));
    if (!rank.has_value() || !target.has_value()) return std::nullopt;
    return std::max(*rank, *target);
  }
  if (type == "Gather") {
    const auto data = Of(node.input(0)), indices = Of(node.input(1));
    if (!data.has_value() || !indices.has_value()) return std::nullopt;
    return *data - 1 + *indices;
  }
  if (type == "Unsqueeze" || type == "Squeeze") {
    const auto rank = Of(node.input(0));
    const auto* axes = FindAttribute(node, "axes");
    std::optional<int64_t> count;
    if (axes != nullptr) count = axes->ints_size();
    if (opset_ >= 13 && node.input_size() > 1) count = LengthOf(node.input(1));
    if (!rank.has_value() || !count.has_value()) return std::nullopt;
    return type == "Unsqueeze" ? *rank + *count : *rank - *count;
  }
  return std::nullopt;
}

std::optional<int64_t> TensorRanks::LengthOf(const std::string& name) {
  const auto constant = constants_.find(name);
  if (constant != constants_.end()) {
    if (constant->second->dims_size() != 1) return std::nullopt;
    return constant->second->dims(0);
  }
  const auto producer = producers_.find(name);
  if (producer == producers_.end()) {
    return outer_ != nullptr ? outer_->LengthOf(name) : std::nullopt;
  }
  const onnx::NodeProto& node = *producer->second;
  if (node.op_type() == "Concat") {
    int64_t total = 0;
    for (const auto& part : node.input()) {
      const auto length = LengthOf(part);
      if (!length.has_value()) return std::nullopt;
      total += *length;
    }
    return total;
  }
  if (node.op_type() == "Unsqueeze" && Of(node.input(0)) == std::optional<int64_t>(0)) return 1;
  if (node.op_type() == "Cast" || node.op_type() == "Identity") return LengthOf(node.input(0));
  if (node.op_type() == "Shape") return Of(node.input(0));
  return std::nullopt;
}

}  // namespace ptq
