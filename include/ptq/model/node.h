// Read-only view of one node: its operator, the opset that defines it, and typed attributes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/tensor/tensor.h"

namespace ptq {

/// Non-owning; the NodeProto must outlive it.
class Node {
 public:
  /// `opset` is the model's import of the node's domain.
  Node(const onnx::NodeProto& proto, int64_t opset) : proto_(&proto), opset_(opset) {}

  [[nodiscard]] const onnx::NodeProto& proto() const { return *proto_; }
  /// The node's name, or "<type> of '<first output>'" when it has none.
  [[nodiscard]] std::string name() const;
  [[nodiscard]] const std::string& op_type() const { return proto_->op_type(); }
  /// "" for ai.onnx.
  [[nodiscard]] std::string domain() const;
  [[nodiscard]] int64_t opset() const { return opset_; }
  /// Empty names stand for absent optional inputs and outputs.
  [[nodiscard]] const std::string& input(int i) const { return proto_->input(i); }
  [[nodiscard]] const std::string& output(int i) const { return proto_->output(i); }
  [[nodiscard]] int input_count() const { return proto_->input_size(); }
  [[nodiscard]] int output_count() const { return proto_->output_size(); }
  [[nodiscard]] bool has_input(int i) const { return i < input_count() && !input(i).empty(); }
  [[nodiscard]] bool has_output(int i) const { return i < output_count() && !output(i).empty(); }

  [[nodiscard]] bool HasAttribute(std::string_view name) const { return Find(name) != nullptr; }
  [[nodiscard]] int64_t Int(std::string_view name, int64_t fallback) const;
  [[nodiscard]] float Float(std::string_view name, float fallback) const;
  [[nodiscard]] std::string String(std::string_view name, const std::string& fallback) const;
  /// Empty when the attribute is absent.
  [[nodiscard]] std::vector<int64_t> Ints(std::string_view name) const;
  [[nodiscard]] std::vector<float> Floats(std::string_view name) const;
  /// The attribute's TensorProto or null. Model::TensorOf reads it.
  [[nodiscard]] const onnx::TensorProto* TensorAttribute(std::string_view name) const;
  [[nodiscard]] const onnx::GraphProto* Subgraph(std::string_view name) const;
  /// An Int that the specification requires. Throws InputError naming the node.
  [[nodiscard]] int64_t RequiredInt(std::string_view name) const;

 private:
  [[nodiscard]] const onnx::AttributeProto* Find(std::string_view name) const;
  const onnx::NodeProto* proto_;
  int64_t opset_;
};

}  // namespace ptq
