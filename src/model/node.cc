// Reads attributes from the NodeProto, with fallbacks, and names nodes that have no name.
#include "ptq/model/node.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "unknown_fields.h"

#include "ptq/base/error.h"
#include "ptq/model/node_builder.h"

namespace ptq {

bool IsKnownDomain(std::string_view domain) {
  static constexpr std::array<std::string_view, 4> kDomains = {"", "ai.onnx", "com.microsoft",
                                                               "com.microsoft.nchwc"};
  return std::ranges::find(kDomains, domain) != kDomains.end();
}

Node::Node(const onnx::NodeProto& proto, int64_t opset) : proto_(&proto), opset_(opset) {
  if (IsKnownDomain(proto.domain())) return;
  foreign_type_ = std::make_shared<const std::string>(proto.domain() + "::" + proto.op_type());
}

std::string Node::name() const {
  if (!proto_->name().empty()) return proto_->name();
  for (const std::string& output : proto_->output()) {
    if (!output.empty()) return op_type() + " of '" + output + "'";
  }
  return op_type();
}

void Node::RefusePlace(const char* what, int i) const {
  throw InputError("node '" + name() + "' (" + op_type() + ") has no " + what + " number " +
                   std::to_string(i));
}

std::string Node::domain() const {
  return proto_->domain() == "ai.onnx" ? std::string() : proto_->domain();
}

bool Node::HasAttribute(std::string_view name) const {
  return FindAttribute(*proto_, name) != nullptr;
}

int64_t Node::Int(std::string_view name, int64_t fallback) const {
  const auto* attribute = FindAttribute(*proto_, name);
  return attribute != nullptr ? attribute->i() : fallback;
}

float Node::Float(std::string_view name, float fallback) const {
  const auto* attribute = FindAttribute(*proto_, name);
  return attribute != nullptr ? attribute->f() : fallback;
}

std::string Node::String(std::string_view name, const std::string& fallback) const {
  const auto* attribute = FindAttribute(*proto_, name);
  return attribute != nullptr ? attribute->s() : fallback;
}

Shape Node::Ints(std::string_view name) const {
  const auto* attribute = FindAttribute(*proto_, name);
  if (attribute == nullptr) return {};
  return Shape(attribute->ints().begin(), attribute->ints().end());
}

std::vector<float> Node::Floats(std::string_view name) const {
  const auto* attribute = FindAttribute(*proto_, name);
  if (attribute == nullptr) return {};
  return {attribute->floats().begin(), attribute->floats().end()};
}

const onnx::TensorProto* Node::TensorAttribute(std::string_view name) const {
  const auto* attribute = FindAttribute(*proto_, name);
  return attribute != nullptr && attribute->has_t() ? &attribute->t() : nullptr;
}

const onnx::GraphProto* Node::Subgraph(std::string_view name) const {
  const auto* attribute = FindAttribute(*proto_, name);
  return attribute != nullptr && attribute->has_g() ? &attribute->g() : nullptr;
}

std::string Node::Metadata(std::string_view key) const {
  constexpr int kMetadataPropsField = 9;  // of NodeProto, since IR version 10
  for (const std::string& bytes : UnknownFields(*proto_, kMetadataPropsField)) {
    onnx::StringStringEntryProto entry;
    if (entry.ParseFromString(bytes) && entry.key() == key) return entry.value();
  }
  return "";
}

int64_t Node::RequiredInt(std::string_view name) const {
  if (!HasAttribute(name)) {
    throw InputError("node '" + this->name() + "': attribute '" + std::string(name) +
                     "' is missing");
  }
  return Int(name, 0);
}

}  // namespace ptq
