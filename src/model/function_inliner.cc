#include "function_inliner.h"

#include <map>
#include <string>
#include <utility>

#include "ptq/base/error.h"

namespace ptq {
namespace {

using FunctionMap = std::map<std::pair<std::string, std::string>, const onnx::FunctionProto*>;
using NameMap = std::map<std::string, std::string>;
using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;

constexpr int kDeepestNesting = 64;

/// Renames what a node refers to. Names not in `names` are internal to the body and get `prefix`.
class Renamer {
 public:
  Renamer(NameMap names, std::string prefix)
      : names_(std::move(names)), prefix_(std::move(prefix)) {}

  void Rename(onnx::NodeProto& node) {
    if (!node.name().empty()) node.set_name(prefix_ + node.name());
    for (auto& name : *node.mutable_input()) name = Lookup(name);
    for (auto& name : *node.mutable_output()) name = Lookup(name);
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.has_g()) RenameGraph(*attribute.mutable_g());
    }
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
  auto* attributes = node.mutable_attribute();
  for (int i = attributes->size() - 1; i >= 0; --i) {
    auto& attribute = *attributes->Mutable(i);
    if (!attribute.ref_attr_name().empty()) {
      const auto found = bound.find(attribute.ref_attr_name());
      if (found == bound.end()) {
        attributes->DeleteSubrange(i, 1);
        continue;
      }
      const std::string name = attribute.name();
      attribute = found->second;
      attribute.set_name(name);
    } else if (attribute.has_g()) {
      for (auto& inner : *attribute.mutable_g()->mutable_node()) BindAttributes(inner, bound);
    }
  }
}

/// Defaults that FunctionProto.attribute_proto (field 11) declares. Older generated code does not
/// know the field, so it is read from the unknown fields.
std::map<std::string, onnx::AttributeProto> DeclaredDefaults(const onnx::FunctionProto& function) {
  constexpr int kAttributeProtoField = 11;
  std::map<std::string, onnx::AttributeProto> defaults;
  const auto& unknown = function.GetReflection()->GetUnknownFields(function);
  for (int i = 0; i < unknown.field_count(); ++i) {
    const auto& field = unknown.field(i);
    if (field.number() != kAttributeProtoField ||
        field.type() != google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED) {
      continue;
    }
    onnx::AttributeProto attribute;
    if (attribute.ParseFromString(field.length_delimited())) {
      defaults[attribute.name()] = attribute;
    }
  }
  return defaults;
}

class Inliner {
 public:
  explicit Inliner(onnx::ModelProto& model) : model_(model) {
    for (const auto& function : model.functions()) {
      functions_[{function.domain(), function.name()}] = &function;
    }
  }

  void Run() {
    InlineIn(*model_.mutable_graph()->mutable_node(), 0);
    for (const auto& [key, function] : functions_) MergeOpsets(*function);
  }

 private:
  void InlineIn(Nodes& nodes, int depth) {
    if (depth > kDeepestNesting) {
      throw InputError("model-local functions call each other without end");
    }
    Nodes result;
    for (auto& node : nodes) {
      for (auto& attribute : *node.mutable_attribute()) {
        if (attribute.has_g()) InlineIn(*attribute.mutable_g()->mutable_node(), depth);
      }
      const auto found = functions_.find({node.domain(), node.op_type()});
      if (found == functions_.end()) {
        *result.Add() = std::move(node);
      } else {
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

    Renamer renamer(std::move(names), label + "." + std::to_string(counter_++) + "/");
    Nodes body;
    // An output that is directly an input of the function needs a node to carry the new name.
    for (const auto& inner : function.node()) {
      auto& copy = *body.Add();
      copy = inner;
      BindAttributes(copy, bound);
      renamer.Rename(copy);
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

  void MergeOpsets(const onnx::FunctionProto& function) {
    for (const auto& needed : function.opset_import()) {
      bool imported = false;
      for (const auto& own : model_.opset_import()) {
        if (own.domain() != needed.domain()) continue;
        imported = true;
        if (own.version() != needed.version()) {
          throw UnsupportedError(
              "model-local function '" + function.name() + "' is written for opset " +
              std::to_string(needed.version()) + " of '" + needed.domain() + "', the model for " +
              std::to_string(own.version()) + "; export the model with one opset");
        }
      }
      if (!imported) *model_.add_opset_import() = needed;
    }
  }

  onnx::ModelProto& model_;
  FunctionMap functions_;
  int counter_ = 0;
};

}  // namespace

void InlineFunctions(onnx::ModelProto& model) {
  if (model.functions_size() == 0) return;
  Inliner(model).Run();
  model.clear_functions();
}

}  // namespace ptq
