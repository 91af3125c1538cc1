// Puts the nodes of two models into branches, and around them what both have in common.
#include "ptq/transform/switched_model.h"

#include <algorithm>
#include <unordered_set>
#include <utility>
#include <vector>

#include "bundle/constant_nodes.h"
#include "bundle/rename.h"

#include "ptq/model/graph_walk.h"
#include "ptq/model/node_builder.h"
#include "ptq/model/unique_names.h"

namespace ptq {
namespace {

/// The second graph under names that the first one does not use, but for what they have in common.
onnx::GraphProto Renamed(const onnx::GraphProto& graph, const NameMap& common, UniqueNames& names) {
  NameMap map = common;
  const auto name_it = [&](const std::string& name) {
    if (!name.empty() && !map.contains(name)) map[name] = names.Take(name);
  };
  ForEachGraph(graph, [&](const onnx::GraphProto& inner) {
    for (const auto& input : inner.input()) name_it(input.name());
    for (const auto& tensor : inner.initializer()) name_it(tensor.name());
    for (const auto& node : inner.node()) {
      for (const auto& output : node.output()) name_it(output);
    }
  });
  onnx::GraphProto renamed = graph;
  RenameValues(renamed, map);
  return renamed;
}

class SwitchBuilder {
 public:
  SwitchBuilder(const onnx::ModelProto& first, const onnx::ModelProto& second,
                const Alignment& alignment, const SwitchOptions& options)
      : alignment_(alignment),
        options_(options),
        names_(first.graph()),
        renamed_((names_.Reserve(options.input), Renamed(second.graph(), alignment.names, names_))),
        graphs_{GraphIndex(first.graph()), GraphIndex(renamed_)},
        condition_(names_.Take(options.input + "/" + options.names[1])) {}

  /// Nodes and initializers of the outer graph.
  void Fill(onnx::GraphProto& graph) {
    nodes_.push_back(MakeCast(condition_, options_.input, condition_, DType::kBool));
    for (const auto& [node, partner] : alignment_.common) {
      if (alignment_.constant[0].contains(node)) continue;  // only where it is read
      nodes_.push_back(graphs_[0].graph.node(node));
      for (const std::string& name : graphs_[0].reads[size_t(node)]) Need(name);
    }
    for (const SwitchedRegion& region : alignment_.regions) AddIf(region);
    graph.clear_node();
    for (auto& node : nodes_) *graph.add_node() = std::move(node);
    SortNodes(graph);
    AddInitializers(graph);
  }

 private:
  /// Has the outer graph hold what a value is made of, if that is constants alone.
  void Need(const std::string& name) {
    if (!needed_.insert(name).second) return;
    for (size_t side = 0; side < 2; ++side) {
      const GraphIndex& graph = graphs_[side];
      const int producer = graph.ProducerOf(name);
      if (!alignment_.constant[side].contains(producer)) continue;
      const onnx::NodeProto& node = graph.graph.node(producer);
      for (const auto& output : node.output()) needed_.insert(output);
      nodes_.push_back(node);
      // Runtimes refuse two nodes of one name in one graph.
      if (side == 1 && !node.name().empty()) nodes_.back().set_name(names_.Take(node.name()));
      for (const std::string& read : graph.reads[size_t(producer)]) Need(read);
      return;
    }
  }

  void AddIf(const SwitchedRegion& region) {
    onnx::NodeProto node;
    node.set_op_type("If");
    node.set_name("switch/" + region.outputs.front());
    node.add_input(condition_);
    for (const std::string& output : region.outputs) node.add_output(output);
    const std::array<const char*, 2> attributes = {"else_branch", "then_branch"};
    for (size_t side = 0; side < 2; ++side) {
      auto& attribute = *node.add_attribute();
      attribute.set_name(attributes[side]);
      attribute.set_type(onnx::AttributeProto::GRAPH);
      *attribute.mutable_g() = MakeBranch(side, region);
    }
    nodes_.push_back(std::move(node));
  }

  /// What a branch holds besides the nodes of its region.
  struct Branch {
    size_t side = 0;
    onnx::GraphProto graph;
    NameMap names;                          ///< of values that are the branch's own
    std::unordered_set<std::string> inner;  ///< made by the region's nodes
    std::vector<onnx::NodeProto> constants;
  };

  onnx::GraphProto MakeBranch(size_t side, const SwitchedRegion& region) {
    Branch branch;
    branch.side = side;
    branch.graph.set_name(options_.names[side] + "/" + region.outputs.front());
    const GraphIndex& graph = graphs_[side];
    for (const int node : region.nodes[side]) {
      const auto& outputs = graph.graph.node(node).output();
      branch.inner.insert(outputs.begin(), outputs.end());
    }
    for (const std::string& output : region.outputs) {
      branch.names[output] = names_.Take(output + "/" + options_.names[side]);
      branch.graph.add_output()->set_name(branch.names[output]);
    }
    for (const int node : region.nodes[side]) {
      for (const std::string& name : graph.reads[size_t(node)]) {
        if (!branch.inner.contains(name)) Give(branch, name, graph.graph.node(node));
      }
    }
    for (auto& node : branch.constants) *branch.graph.add_node() = std::move(node);
    for (const int node : region.nodes[side]) *branch.graph.add_node() = graph.graph.node(node);
    for (auto& node : *branch.graph.mutable_node()) RenameValues(node, branch.names);
    return std::move(branch.graph);
  }

  /// Lets a branch have what one of its nodes reads: as its own, or from the outer graph. ONNX
  /// Runtime (1.32) prepares a weight for its kernel only when it is in the graph of the node, or
  /// in the one around that; so a branch has the constants that a graph within it reads.
  void Give(Branch& branch, const std::string& name, const onnx::NodeProto& reader) {
    const GraphIndex& graph = graphs_[branch.side];
    const int producer = graph.ProducerOf(name);
    const auto& inputs = reader.input();
    const bool near = std::find(inputs.begin(), inputs.end(), name) == inputs.end();
    if (alignment_.constant[branch.side].contains(producer)) {
      if (alignment_.outside[branch.side].contains(producer) && !near) return Need(name);
      if (!branch.names.contains(name)) CopyNode(branch, producer);
      return;
    }
    const auto tensor = graph.initializers.find(name);
    const bool own = tensor != graph.initializers.end() && !graph.inputs.contains(name) &&
                     (near || IsSmallTensor(*tensor->second) || IsQuantizeOrDequantize(reader));
    if (!own) return Need(name);
    if (!branch.names.contains(name)) CopyTensor(branch, *tensor->second);
  }

  void CopyTensor(Branch& branch, const onnx::TensorProto& tensor) {
    const std::string& name = tensor.name();
    branch.names[name] = OwnName(branch.side, name);
    auto& copy = *branch.graph.add_initializer();
    copy = tensor;
    copy.set_name(branch.names[name]);
  }

  /// A constant node that belongs to its readers, such as the DequantizeLinear of a weight, with
  /// all that it is made of.
  void CopyNode(Branch& branch, int index) {
    const GraphIndex& graph = graphs_[branch.side];
    const onnx::NodeProto& node = graph.graph.node(index);
    for (const auto& output : node.output()) {
      if (!output.empty()) branch.names[output] = OwnName(branch.side, output);
    }
    for (const std::string& name : graph.reads[size_t(index)]) {
      const auto tensor = graph.initializers.find(name);
      if (tensor == graph.initializers.end()) {
        Give(branch, name, node);
      } else if (!branch.names.contains(name)) {
        CopyTensor(branch, *tensor->second);
      }
    }
    branch.constants.push_back(node);
  }

  /// The name that a value has in the branches of one model.
  const std::string& OwnName(size_t side, const std::string& name) {
    auto& own = own_names_[side][name];
    if (own.empty()) own = names_.Take(name + "/" + options_.names[side]);
    return own;
  }

  void AddInitializers(onnx::GraphProto& graph) {
    std::unordered_set<std::string> present;
    for (const GraphIndex& index : graphs_) {
      for (const auto& tensor : index.graph.initializer()) {
        const bool wanted = needed_.contains(tensor.name()) || index.inputs.contains(tensor.name());
        if (wanted && present.insert(tensor.name()).second) *graph.add_initializer() = tensor;
      }
    }
  }

  const Alignment& alignment_;
  const SwitchOptions& options_;
  UniqueNames names_;
  onnx::GraphProto renamed_;
  std::array<GraphIndex, 2> graphs_;
  std::string condition_;
  std::vector<onnx::NodeProto> nodes_;
  std::unordered_set<std::string> needed_;
  std::array<NameMap, 2> own_names_;
};

/// The input that chooses, and its default.
void AddSwitch(onnx::GraphProto& graph, const SwitchOptions& options) {
  auto& input = *graph.add_input();
  input.set_name(options.input);
  input.mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::INT64);
  (void)input.mutable_type()->mutable_tensor_type()->mutable_shape();  // a scalar
  input.set_doc_string("0: " + options.names[0] + ", 1: " + options.names[1]);
  auto& value = *graph.add_initializer();
  value.set_name(options.input);
  value.set_data_type(onnx::TensorProto::INT64);
  const int64_t chosen = options.default_model;
  value.set_raw_data(&chosen, sizeof chosen);
}

/// Forgets the types of values that the outer graph has no more.
void KeepKnownTypes(onnx::GraphProto& graph) {
  std::unordered_set<std::string> given;
  for (const auto& node : graph.node()) given.insert(node.output().begin(), node.output().end());
  auto& infos = *graph.mutable_value_info();
  for (int i = infos.size() - 1; i >= 0; --i) {
    if (!given.contains(infos.Get(i).name())) infos.DeleteSubrange(i, 1);
  }
}

void AddFunctions(const onnx::ModelProto& from, onnx::ModelProto& model) {
  std::unordered_set<std::string> known;
  const auto key = [](const onnx::FunctionProto& f) { return f.domain() + ":" + f.name(); };
  for (const auto& function : model.functions()) known.insert(key(function));
  for (const auto& function : from.functions()) {
    if (!known.contains(key(function))) *model.add_functions() = function;
  }
}

}  // namespace

onnx::ModelProto MakeSwitched(const onnx::ModelProto& first, const onnx::ModelProto& second,
                              const Alignment& alignment, const SwitchOptions& options) {
  onnx::ModelProto model = first;
  model.mutable_graph()->clear_initializer();
  SwitchBuilder(first, second, alignment, options).Fill(*model.mutable_graph());
  AddSwitch(*model.mutable_graph(), options);
  KeepKnownTypes(*model.mutable_graph());
  model.mutable_graph()->clear_quantization_annotation();
  AddFunctions(second, model);
  for (const auto& import : second.opset_import()) {
    RaiseOpset(model, import.domain(), import.version());
  }
  return model;
}

}  // namespace ptq
