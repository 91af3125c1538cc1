// Looks up values, their readers and declared types, and what a subgraph reads from outside.
#include "ptq/model/graph.h"

#include <algorithm>
#include <set>

#include "flatten.h"

namespace ptq {
namespace {

void CollectFreeNames(const onnx::GraphProto& graph, std::vector<std::string>& free_names) {
  std::set<std::string> defined, found;
  for (const auto& input : graph.input()) defined.insert(input.name());
  for (const auto& tensor : graph.initializer()) defined.insert(tensor.name());
  for (const auto& node : graph.node()) {
    defined.insert(node.output().begin(), node.output().end());
  }
  const auto add = [&](const std::string& name) {
    if (name.empty() || defined.contains(name)) return;
    if (found.insert(name).second) free_names.push_back(name);
  };
  for (const auto& node : graph.node()) {
    for (const auto& name : node.input()) add(name);
    for (const auto& attribute : node.attribute()) {
      if (!attribute.has_g()) continue;
      for (const auto& name : FreeNames(attribute.g())) add(name);
    }
  }
  for (const auto& output : graph.output()) add(output.name());
}

}  // namespace

std::vector<std::string> FreeNames(const onnx::GraphProto& graph) {
  std::vector<std::string> names;
  CollectFreeNames(graph, names);
  return names;
}

Graph::Graph(const Model& model) : model_(&model) { FlattenGraph(model, *this); }

size_t Graph::Readers(ValueId id) const {
  return size_t(std::ranges::count_if(value(id).uses, [&](const Use& use) {
    const std::string& type = nodes_[size_t(use.node)].op_type();
    return type != "Shape" && type != "Size";
  }));
}

ValueId Graph::Find(std::string_view name) const {
  const auto found = by_name_.find(std::string(name));
  return found == by_name_.end() ? kNoValue : found->second;
}

int Graph::BodyOf(int scope) const {
  while (scopes_[size_t(scope)].is_branch()) scope = scopes_[size_t(scope)].parent;
  return scope;
}

Graph::Declared Graph::DeclaredType(ValueId id) const {
  const std::string& name = value(id).name;
  const auto find = [&](const auto& list) -> const onnx::ValueInfoProto* {
    for (const auto& info : list) {
      if (info.name() == name) return &info;
    }
    return nullptr;
  };
  Declared declared;
  const onnx::GraphProto& proto = *scope(value(id).scope).proto;
  const onnx::ValueInfoProto* info = find(proto.input());
  if (info == nullptr) info = find(proto.output());
  if (info == nullptr) info = find(proto.value_info());
  if (info == nullptr || !info->type().has_tensor_type()) return declared;
  const auto& tensor = info->type().tensor_type();
  declared.dtype = static_cast<DType>(tensor.elem_type());
  if (tensor.has_shape()) {
    Shape shape;
    for (const auto& dim : tensor.shape().dim()) {
      shape.push_back(dim.has_dim_value() ? dim.dim_value() : -1);
      declared.names.push_back(dim.dim_param());
    }
    declared.shape = std::move(shape);
  }
  return declared;
}

}  // namespace ptq
