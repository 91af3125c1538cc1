// Read-only view of one node: its operator, the opset that defines it, and typed attributes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/tensor/tensor.h"

namespace ptq {

/// Whether this program knows operators of a domain ("" is ai.onnx). Those of another are nothing
/// to it, whatever they are called.
[[nodiscard]] bool IsKnownDomain(std::string_view domain);

/// A tensor as the file has it: its type, its shape and where its elements are. WeightReader reads
/// these. Folders that name no types of the file format know it under this name.
using StoredTensor = onnx::TensorProto;

/// Non-owning; the NodeProto must outlive it.
class Node {
 public:
  /// `opset` is the model's import of the node's domain.
  Node(const onnx::NodeProto& proto, int64_t opset);

  [[nodiscard]] const onnx::NodeProto& proto() const { return *proto_; }
  /// The node's name, or "<type> of '<first output>'" when it has none.
  [[nodiscard]] std::string name() const;
  /// With the domain in front when it is none that this program knows: my.domain::MatMul is not
  /// taken for a MatMul.
  [[nodiscard]] const std::string& op_type() const {
    return foreign_type_ != nullptr ? *foreign_type_ : proto_->op_type();
  }
  /// "" for ai.onnx.
  [[nodiscard]] std::string domain() const;
  [[nodiscard]] int64_t opset() const { return opset_; }
  /// Empty names stand for absent optional inputs and outputs. Throws InputError naming the node
  /// where it has none of that number.
  [[nodiscard]] const std::string& input(int i) const {
    if (i < 0 || i >= input_count()) RefusePlace("input", i);
    return proto_->input(i);
  }
  [[nodiscard]] const std::string& output(int i) const {
    if (i < 0 || i >= output_count()) RefusePlace("output", i);
    return proto_->output(i);
  }
  [[nodiscard]] int input_count() const { return proto_->input_size(); }
  [[nodiscard]] int output_count() const { return proto_->output_size(); }
  [[nodiscard]] bool has_input(int i) const {
    return i >= 0 && i < input_count() && !proto_->input(i).empty();
  }
  [[nodiscard]] bool has_output(int i) const {
    return i >= 0 && i < output_count() && !proto_->output(i).empty();
  }

  [[nodiscard]] bool HasAttribute(std::string_view name) const;
  [[nodiscard]] int64_t Int(std::string_view name, int64_t fallback) const;
  [[nodiscard]] float Float(std::string_view name, float fallback) const;
  [[nodiscard]] std::string String(std::string_view name, const std::string& fallback) const;
  /// Empty when the attribute is absent.
  [[nodiscard]] Shape Ints(std::string_view name) const;
  [[nodiscard]] std::vector<float> Floats(std::string_view name) const;
  /// The attribute's TensorProto or null. Model::TensorOf reads it.
  [[nodiscard]] const StoredTensor* TensorAttribute(std::string_view name) const;
  [[nodiscard]] const onnx::GraphProto* Subgraph(std::string_view name) const;
  /// An entry of metadata_props, where exporters keep notes; "" when there is none.
  [[nodiscard]] std::string Metadata(std::string_view key) const;
  /// An Int that the specification requires. Throws InputError naming the node.
  [[nodiscard]] int64_t RequiredInt(std::string_view name) const;

 private:
  [[noreturn]] void RefusePlace(const char* what, int i) const;

  const onnx::NodeProto* proto_;
  int64_t opset_;
  std::shared_ptr<const std::string> foreign_type_;
};

}  // namespace ptq
