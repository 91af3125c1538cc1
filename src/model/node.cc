// Reads attributes from the NodeProto, with fallbacks, and names nodes that have no name.
#include "ptq/model/node.h"

#include "ptq/base/error.h"

namespace ptq {

std::string Node::name() const {
  if (!proto_->name().empty()) return proto_->name();
  for (const std::string& output : proto_->output()) {
    if (!output.empty()) return op_type() + " of '" + output + "'";
  }
  return op_type();
}

std::string Node::domain() const {
  return proto_->domain() == "ai.onnx" ? std::string() : proto_->domain();
}

const onnx::AttributeProto* Node::Find(std::string_view name) const {
  for (const onnx::AttributeProto& attribute : proto_->attribute()) {
    if (attribute.name() == name) return &attribute;
  }
  return nullptr;
}

int64_t Node::Int(std::string_view name, int64_t fallback) const {
  const auto* attribute = Find(name);
  return attribute != nullptr ? attribute->i() : fallback;
}

float Node::Float(std::string_view name, float fallback) const {
  const auto* attribute = Find(name);
  return attribute != nullptr ? attribute->f() : fallback;
}

std::string Node::String(std::string_view name, const std::string& fallback) const {
  const auto* attribute = Find(name);
  return attribute != nullptr ? attribute->s() : fallback;
}

std::vector<int64_t> Node::Ints(std::string_view name) const {
  const auto* attribute = Find(name);
  if (attribute == nullptr) return {};
  return {attribute->ints().begin(), attribute->ints().end()};
}

std::vector<float> Node::Floats(std::string_view name) const {
  const auto* attribute = Find(name);
  if (attribute == nullptr) return {};
  return {attribute->floats().begin(), attribute->floats().end()};
}

const onnx::TensorProto* Node::TensorAttribute(std::string_view name) const {
  const auto* attribute = Find(name);
  return attribute != nullptr && attribute->has_t() ? &attribute->t() : nullptr;
}

const onnx::GraphProto* Node::Subgraph(std::string_view name) const {
  const auto* attribute = Find(name);
  return attribute != nullptr && attribute->has_g() ? &attribute->g() : nullptr;
}

int64_t Node::RequiredInt(std::string_view name) const {
  if (!HasAttribute(name)) {
    throw InputError("node '" + this->name() + "': attribute '" + std::string(name) +
                     "' is missing");
  }
  return Int(name, 0);
}

}  // namespace ptq
