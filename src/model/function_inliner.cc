// Expands calls down to the last, with fresh names, bound attributes and merged opsets.
#include "function_inliner.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "unknown_fields.h"

#include "ptq/base/error.h"
#include "ptq/base/format.h"
#include "ptq/model/graph_walk.h"

namespace ptq {
namespace {

using FunctionKey = std::tuple<std::string, std::string, std::string>;  ///< domain, name, overload
using FunctionMap = std::map<FunctionKey, const onnx::FunctionProto*>;
using NameMap = std::map<std::string, std::string>;
using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;

constexpr int kDeepestNesting = 64;
/// What calls may add to a model: forty functions, each calling the one before twice, would add
/// 2^40 nodes.
constexpr int64_t kMostNodes = int64_t{1} << 21;
constexpr int64_t kMostBytes = int64_t{1} << 30;

/// Renames what a node refers to. Names not in `names` are internal to the body and get `prefix`.
class Renamer {
 public:
  Renamer(NameMap names, std::string prefix)
      : names_(std::move(names)), prefix_(std::move(prefix)) {}

  void Rename(onnx::NodeProto& node) {
    if (!node.name().empty()) node.set_name(prefix_ + node.name());
    for (auto& name : *node.mutable_input()) name = Lookup(name);
    for (auto& name : *node.mutable_output()) name = Lookup(name);
    ForEachSubgraph(node, [&](onnx::GraphProto& graph) { RenameGraph(graph); });
  }

 private:
  std::string Lookup(const std::string& name) {
    if (name.empty()) return name;
    return names_.try_emplace(name, prefix_ + name).first->second;
  }

  void RenameGraph(onnx::GraphProto& graph) {
    for (auto& value : *graph.mutable_input()) value.set_name(Lookup(value.name()));
    for (auto& value : *graph.mutable_output()) value.set_name(Lookup(value.name()));
    for (auto& tensor : *graph.mutable_initializer()) tensor.set_name(Lookup(tensor.name()));
    for (auto& value : *graph.mutable_value_info()) value.set_name(Lookup(value.name()));
    for (auto& node : *graph.mutable_node()) Rename(node);
  }

  NameMap names_;
  std::string prefix_;
};

/// Gives attribute references the value of the call, else the declared default, else removes them.
void BindAttributes(onnx::NodeProto& node,
                    const std::map<std::string, onnx::AttributeProto>& bound) {
  ForEachSubgraph(node, [&](onnx::GraphProto& graph) {
    for (auto& inner : *graph.mutable_node()) BindAttributes(inner, bound);
  });
  auto* attributes = node.mutable_attribute();
  for (int i = attributes->size() - 1; i >= 0; --i) {
    auto& attribute = *attributes->Mutable(i);
    if (attribute.ref_attr_name().empty()) continue;
    const auto found = bound.find(attribute.ref_attr_name());
    if (found == bound.end()) {
      attributes->DeleteSubrange(i, 1);
      continue;
    }
    const std::string name = attribute.name();
    attribute = found->second;
    attribute.set_name(name);
  }
}

/// Defaults that FunctionProto.attribute_proto (field 11) declares.
std::map<std::string, onnx::AttributeProto> DeclaredDefaults(const onnx::FunctionProto& function) {
  std::map<std::string, onnx::AttributeProto> defaults;
  for (const std::string& bytes : UnknownFields(function, 11)) {
    onnx::AttributeProto attribute;
    if (attribute.ParseFromString(bytes)) defaults[attribute.name()] = attribute;
  }
  return defaults;
}

/// `overload` is FunctionProto's field 13 and NodeProto's field 8 (IR version 10).
FunctionKey KeyOf(const onnx::FunctionProto& function) {
  const auto overload = UnknownFields(function, 13);
  return {function.domain(), function.name(), overload.empty() ? "" : overload.back()};
}
FunctionKey KeyOf(const onnx::NodeProto& call) {
  const auto overload = UnknownFields(call, 8);
  return {call.domain(), call.op_type(), overload.empty() ? "" : overload.back()};
}

class Inliner {
 public:
  explicit Inliner(onnx::ModelProto& model) : model_(model) {
    for (const auto& function : model.functions()) functions_[KeyOf(function)] = &function;
    names_ = NamesIn(model.graph());
  }

  void Run() { InlineIn(*model_.mutable_graph()->mutable_node(), 0); }

 private:
  void InlineIn(Nodes& nodes, int depth) {
    if (depth > kDeepestNesting) {
      throw InputError("model-local functions call each other without end");
    }
    Nodes result;
    for (auto& node : nodes) {
      ForEachSubgraph(node,
                      [&](onnx::GraphProto& graph) { InlineIn(*graph.mutable_node(), depth); });
      const auto found = functions_.find(KeyOf(node));
      if (found == functions_.end()) {
        *result.Add() = std::move(node);
      } else {
        MergeOpsets(*found->second, found->second->node());
        Nodes body = Expand(node, *found->second);
        InlineIn(body, depth + 1);
        for (auto& inner : body) *result.Add() = std::move(inner);
      }
    }
    nodes.Swap(&result);
  }

  Nodes Expand(const onnx::NodeProto& call, const onnx::FunctionProto& function) {
    const std::string label = call.name().empty() ? function.name() : call.name();
    NameMap names;
    for (int i = 0; i < function.input_size(); ++i) {
      names[function.input(i)] = i < call.input_size() ? call.input(i) : "";
    }
    for (int i = 0; i < function.output_size(); ++i) {
      const bool used = i < call.output_size() && !call.output(i).empty();
      if (used) names[function.output(i)] = call.output(i);
    }
    auto bound = DeclaredDefaults(function);
    for (const auto& attribute : call.attribute()) bound[attribute.name()] = attribute;

    Renamer renamer(std::move(names), UniquePrefix(label));
    Nodes body;
    // An output that is directly an input of the function needs a node to carry the new name.
    for (const auto& inner : function.node()) {
      auto& copy = *body.Add();
      copy = inner;
      BindAttributes(copy, bound);
      renamer.Rename(copy);
      Count(copy, function.name());
    }
    for (int i = 0; i < function.output_size() && i < call.output_size(); ++i) {
      for (int j = 0; j < function.input_size(); ++j) {
        if (function.output(i) != function.input(j) || call.output(i).empty()) continue;
        auto& identity = *body.Add();
        identity.set_op_type("Identity");
        identity.add_input(j < call.input_size() ? call.input(j) : "");
        identity.add_output(call.output(i));
      }
    }
    return body;
  }

  void Count(const onnx::NodeProto& added, const std::string& function) {
    nodes_ += 1;
    bytes_ += int64_t(added.ByteSizeLong());
    if (nodes_ <= kMostNodes && bytes_ <= kMostBytes) return;
    throw InputError("the calls of model-local functions, such as '" + function +
                     "', stand for more than " + std::to_string(kMostNodes) + " nodes or " +
                     FormatBytes(kMostBytes) + "; export the model with its functions inlined");
  }

  /// No name of the model begins with it.
  std::string UniquePrefix(const std::string& label) {
    while (true) {
      std::string prefix = label + "." + std::to_string(counter_++) + "/";
      const auto next = names_.lower_bound(prefix);
      if (next == names_.end() || !next->starts_with(prefix)) return prefix;
    }
  }

  /// Makes the model import what the nodes of a function's body need.
  void MergeOpsets(const onnx::FunctionProto& function, const Nodes& nodes) {
    ForEachNode(nodes, [&](const onnx::NodeProto& node) {
      if (!functions_.contains(KeyOf(node))) MergeOpset(function, node);
    });
  }

  void MergeOpset(const onnx::FunctionProto& function, const onnx::NodeProto& node) {
    const auto of_domain = [&](const auto& imports) {
      return std::ranges::find(imports, node.domain(), &onnx::OperatorSetIdProto::domain);
    };
    const auto needed = of_domain(function.opset_import());
    if (needed == function.opset_import().end()) return;
    const auto own = of_domain(model_.opset_import());
    if (own == model_.opset_import().end()) {
      *model_.add_opset_import() = *needed;
    } else if (own->version() != needed->version()) {
      throw UnsupportedError("model-local function '" + function.name() +
                             "' is written for opset " + std::to_string(needed->version()) +
                             " of '" + needed->domain() + "', the model for " +
                             std::to_string(own->version()) + "; export the model with one opset");
    }
  }

  onnx::ModelProto& model_;
  FunctionMap functions_;
  std::set<std::string> names_;  ///< before any call was inlined
  int counter_ = 0;
  int64_t nodes_ = 0, bytes_ = 0;  ///< added
};

}  // namespace

void InlineFunctions(onnx::ModelProto& model) {
  if (model.functions_size() == 0) return;
  Inliner(model).Run();
  model.clear_functions();
}

}  // namespace ptq
