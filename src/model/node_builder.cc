// Fills NodeProtos and opset imports field by field.
#include "ptq/model/node_builder.h"

#include <utility>

#include "ptq/model/node.h"

namespace ptq {
namespace {

onnx::AttributeProto& AddAttribute(onnx::NodeProto& node, const std::string& name,
                                   onnx::AttributeProto::AttributeType type) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(type);
  return attribute;
}

}  // namespace

onnx::NodeProto MakeNode(const std::string& op_type, const std::string& name,
                         const std::vector<std::string>& inputs, const std::string& output) {
  onnx::NodeProto node;
  node.set_op_type(op_type);
  node.set_name(name);
  for (const std::string& input : inputs) node.add_input(input);
  node.add_output(output);
  return node;
}

onnx::NodeProto MakeCast(const std::string& name, const std::string& input,
                         const std::string& output, DType to) {
  auto node = MakeNode("Cast", name, {input}, output);
  SetInt(node, "to", static_cast<int64_t>(to));
  return node;
}

const std::string& OutputOf(const onnx::NodeProto& node, int i) {
  static const std::string kNone;
  return i < node.output_size() ? node.output(i) : kNone;
}

const onnx::AttributeProto* FindAttribute(const onnx::NodeProto& node, std::string_view name) {
  for (const onnx::AttributeProto& attribute : node.attribute()) {
    if (attribute.name() == name) return &attribute;
  }
  return nullptr;
}

void RemoveAttribute(onnx::NodeProto& node, std::string_view name) {
  auto& attributes = *node.mutable_attribute();
  for (int i = attributes.size() - 1; i >= 0; --i) {
    if (attributes.Get(i).name() == name) attributes.DeleteSubrange(i, 1);
  }
}

const onnx::TensorProto* ConstantOf(const onnx::NodeProto& node) {
  if (node.op_type() != "Constant" || !IsKnownDomain(node.domain())) return nullptr;
  if (node.output_size() != 1) return nullptr;
  const onnx::AttributeProto* const value = FindAttribute(node, "value");
  return value != nullptr && value->has_t() ? &value->t() : nullptr;
}

void SetInt(onnx::NodeProto& node, const std::string& name, int64_t value) {
  AddAttribute(node, name, onnx::AttributeProto::INT).set_i(value);
}

void SetFloat(onnx::NodeProto& node, const std::string& name, float value) {
  AddAttribute(node, name, onnx::AttributeProto::FLOAT).set_f(value);
}

void SetInts(onnx::NodeProto& node, const std::string& name, const std::vector<int64_t>& values) {
  auto& attribute = AddAttribute(node, name, onnx::AttributeProto::INTS);
  for (const int64_t value : values) attribute.add_ints(value);
}

void SetTensor(onnx::NodeProto& node, const std::string& name, onnx::TensorProto value) {
  *AddAttribute(node, name, onnx::AttributeProto::TENSOR).mutable_t() = std::move(value);
}

void SetString(onnx::NodeProto& node, const std::string& name, const std::string& value) {
  AddAttribute(node, name, onnx::AttributeProto::STRING).set_s(value);
}

int64_t OpsetOf(const onnx::ModelProto& model, const std::string& domain) {
  for (const auto& import : model.opset_import()) {
    if (import.domain() == domain) return import.version();
  }
  return 0;
}

void RaiseOpset(onnx::ModelProto& model, const std::string& domain, int64_t version) {
  for (auto& import : *model.mutable_opset_import()) {
    if (import.domain() != domain) continue;
    if (import.version() < version) import.set_version(version);
    return;
  }
  auto* import = model.add_opset_import();
  import->set_domain(domain);
  import->set_version(version);
}

}  // namespace ptq
