// Looks up values, their readers and declared types.
#include "ptq/model/graph.h"

#include <algorithm>

#include "flatten.h"

#include "ptq/base/error.h"

namespace ptq {

void Graph::RefuseAbsent() { throw InputError("an operand that a node needs is absent"); }

Graph::Graph(const Model& model) : model_(&model) { FlattenGraph(model, *this); }

bool Graph::ReadsElements(const Use& use) const {
  const std::string& type = nodes_[size_t(use.node)].op_type();
  return type != "Shape" && type != "Size";
}

size_t Graph::Readers(ValueId id) const {
  return size_t(
      std::ranges::count_if(value(id).uses, [&](const Use& use) { return ReadsElements(use); }));
}

bool Graph::HasOneReader(ValueId id) const {
  if (value(id).graph_output) return false;
  int readers = 0;  // counted no further than to the second: a constant may have a million
  return std::ranges::all_of(
             value(id).uses,
             [&](const Use& use) { return !ReadsElements(use) || ++readers == 1; }) &&
         readers == 1;
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
  Declared declared;
  const onnx::ValueInfoProto* const info = value(id).declared;
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
