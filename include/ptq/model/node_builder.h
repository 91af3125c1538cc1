// Makes nodes, reads and sets their attributes, and reads and raises a model's opset imports.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/tensor/dtype.h"

namespace ptq {

[[nodiscard]] onnx::NodeProto MakeNode(const std::string& op_type, const std::string& name,
                                       const std::vector<std::string>& inputs,
                                       const std::string& output);
[[nodiscard]] onnx::NodeProto MakeCast(const std::string& name, const std::string& input,
                                       const std::string& output, DType to);

/// Name of an output by number; "" where there is none.
[[nodiscard]] const std::string& OutputOf(const onnx::NodeProto& node, int i);

/// The attribute of that name, or null.
[[nodiscard]] const onnx::AttributeProto* FindAttribute(const onnx::NodeProto& node,
                                                        std::string_view name);
/// Leaves a node without the attribute of that name.
void RemoveAttribute(onnx::NodeProto& node, std::string_view name);
/// The tensor that a Constant node holds; null for any other node.
[[nodiscard]] const onnx::TensorProto* ConstantOf(const onnx::NodeProto& node);
/// Each adds an attribute that the node does not have.
void SetInt(onnx::NodeProto& node, const std::string& name, int64_t value);
void SetFloat(onnx::NodeProto& node, const std::string& name, float value);
void SetInts(onnx::NodeProto& node, const std::string& name, const std::vector<int64_t>& values);
void SetTensor(onnx::NodeProto& node, const std::string& name, onnx::TensorProto value);
void SetString(onnx::NodeProto& node, const std::string& name, const std::string& value);

/// Version of the import of a domain; 0 when there is none.
[[nodiscard]] int64_t OpsetOf(const onnx::ModelProto& model, const std::string& domain);
/// Sets the import of a domain to at least `version`.
void RaiseOpset(onnx::ModelProto& model, const std::string& domain, int64_t version);

}  // namespace ptq
