#include "ptq/model/graph.h"

#include <algorithm>
#include <set>

#include "ptq/base/error.h"

namespace ptq {
namespace {

void CollectFreeNames(const onnx::GraphProto& graph, std::vector<std::string>& free_names) {
  std::set<std::string> defined;
  for (const auto& input : graph.input()) defined.insert(input.name());
  for (const auto& tensor : graph.initializer()) defined.insert(tensor.name());
  for (const auto& node : graph.node()) {
    defined.insert(node.output().begin(), node.output().end());
  }
  const auto add = [&](const std::string& name) {
    if (name.empty() || defined.contains(name)) return;
    if (std::find(free_names.begin(), free_names.end(), name) == free_names.end()) {
      free_names.push_back(name);
    }
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

Graph::Graph(const Model& model, const onnx::GraphProto& proto,
             const std::vector<std::string>& outer)
    : model_(&model), proto_(&proto) {
  for (const auto& tensor : proto.initializer()) {
    values_[size_t(Intern(tensor.name()))].constant = &tensor;
  }
  for (const auto& input : proto.input()) {
    const ValueId id = Intern(input.name());
    if (value(id).constant != nullptr) continue;  // IR < 4 lists initializers as inputs
    values_[size_t(id)].graph_input = true;
    graph_inputs_.push_back(id);
  }
  AddNodes(outer);
  for (const auto& output : proto.output()) {
    const ValueId id = Find(output.name());
    if (id == kNoValue) throw InputError("graph output '" + output.name() + "' is never produced");
    values_[size_t(id)].graph_output = true;
    graph_outputs_.push_back(id);
  }
  SortNodes();
}

ValueId Graph::Intern(const std::string& name) {
  const auto [entry, added] = by_name_.try_emplace(name, static_cast<ValueId>(values_.size()));
  if (added) values_.emplace_back().name = name;
  return entry->second;
}

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

void Graph::AddNodes(const std::vector<std::string>& outer) {
  for (const auto& name : outer) {
    if (Find(name) == kNoValue) values_[size_t(Intern(name))].captured = true;
  }
  const int count = proto_->node_size();
  order_.resize(size_t(count));
  for (int i = 0; i < count; ++i) order_[size_t(i)] = i;
  // Outputs first: the file need not list producers before consumers.
  std::set<std::string> produced;
  for (const auto& node : proto_->node()) {
    for (const auto& name : node.output()) {
      if (name.empty()) continue;
      const ValueId known = Find(name);
      const bool taken =
          known != kNoValue && (value(known).graph_input || value(known).constant != nullptr);
      if (taken || !produced.insert(name).second) {
        throw InputError("value '" + name + "' is defined more than once");
      }
      const ValueId id = Intern(name);
      values_[size_t(id)].captured = false;
      if (node.op_type() != "Constant" || node.output_size() != 1) continue;
      for (const auto& attribute : node.attribute()) {
        if (attribute.name() == "value" && attribute.has_t()) {
          values_[size_t(id)].constant = &attribute.t();
        }
      }
    }
  }
  const auto require = [&](const std::string& name, const std::string& user) {
    const ValueId id = Find(name);
    if (id != kNoValue) return id;
    throw InputError("node '" + user + "' uses '" + name + "', which nothing produces");
  };
  for (const auto& node : proto_->node()) {
    std::vector<ValueId> ins, outs, captured;
    for (const auto& name : node.input()) {
      ins.push_back(name.empty() ? kNoValue : require(name, node.name()));
    }
    for (const auto& name : node.output()) outs.push_back(name.empty() ? kNoValue : Find(name));
    for (const auto& attribute : node.attribute()) {
      if (!attribute.has_g()) continue;
      for (const auto& name : FreeNames(attribute.g())) {
        captured.push_back(require(name, node.name()));
      }
    }
    inputs_.push_back(std::move(ins));
    outputs_.push_back(std::move(outs));
    captures_.push_back(std::move(captured));
  }
}

/// Kahn's algorithm that always takes the earliest ready node, so a sorted file keeps its order.
void Graph::SortNodes() {
  const auto count = size_t(proto_->node_size());
  std::vector<int> producer(values_.size(), -1);
  for (size_t i = 0; i < count; ++i) {
    for (const ValueId id : outputs_[i]) {
      if (id != kNoValue) producer[size_t(id)] = int(i);
    }
  }
  std::vector<std::set<int>> waits(count);
  std::vector<std::vector<int>> blocks(count);
  for (size_t i = 0; i < count; ++i) {
    for (const auto* list : {&inputs_[i], &captures_[i]}) {
      for (const ValueId id : *list) {
        if (id == kNoValue || producer[size_t(id)] < 0) continue;
        if (waits[i].insert(producer[size_t(id)]).second) {
          blocks[size_t(producer[size_t(id)])].push_back(int(i));
        }
      }
    }
  }
  std::set<int> ready;
  for (size_t i = 0; i < count; ++i) {
    if (waits[i].empty()) ready.insert(int(i));
  }
  order_.clear();
  while (!ready.empty()) {
    const int node = *ready.begin();
    ready.erase(ready.begin());
    order_.push_back(node);
    for (const int next : blocks[size_t(node)]) {
      waits[size_t(next)].erase(node);
      if (waits[size_t(next)].empty()) ready.insert(next);
    }
  }
  if (order_.size() != count) throw InputError("the graph has a cycle");

  std::vector<std::vector<ValueId>> ins(count), outs(count), captured(count);
  for (size_t i = 0; i < count; ++i) {
    const auto from = size_t(order_[i]);
    ins[i] = std::move(inputs_[from]);
    outs[i] = std::move(outputs_[from]);
    captured[i] = std::move(captures_[from]);
    const auto& node = proto_->node(order_[i]);
    const std::string domain = node.domain() == "ai.onnx" ? std::string() : node.domain();
    nodes_.emplace_back(node, model_->Opset(domain));
    for (const ValueId id : outs[i]) {
      if (id != kNoValue) values_[size_t(id)].producer = int(i);
    }
    for (size_t j = 0; j < ins[i].size(); ++j) {
      if (ins[i][j] != kNoValue) {
        values_[size_t(ins[i][j])].uses.push_back({int(i), int(j)});
      }
    }
    for (const ValueId id : captured[i]) values_[size_t(id)].uses.push_back({int(i), -1});
  }
  inputs_ = std::move(ins);
  outputs_ = std::move(outs);
  captures_ = std::move(captured);
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
  const onnx::ValueInfoProto* info = find(proto_->input());
  if (info == nullptr) info = find(proto_->output());
  if (info == nullptr) info = find(proto_->value_info());
  if (info == nullptr || !info->type().has_tensor_type()) return declared;
  const auto& tensor = info->type().tensor_type();
  declared.dtype = static_cast<DType>(tensor.elem_type());
  if (tensor.has_shape()) {
    Shape shape;
    for (const auto& dim : tensor.shape().dim()) {
      shape.push_back(dim.has_dim_value() ? dim.dim_value() : -1);
    }
    declared.shape = std::move(shape);
  }
  return declared;
}

}  // namespace ptq
