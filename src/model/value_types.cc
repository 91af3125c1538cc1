// Follows types from the inputs and constants of a graph through its operators' schemas.
#include "ptq/model/value_types.h"

#include <bit>
#include <map>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "ptq/model/graph_walk.h"
#include "ptq/model/node_builder.h"
#include "ptq/model/operator_schemas.h"

namespace ptq {
namespace {

DType ElementTypeOf(const onnx::ValueInfoProto& info) {
  return DType(info.type().tensor_type().elem_type());
}

/// What a Constant node holds.
DType TypeOfConstant(const onnx::NodeProto& node) {
  for (const auto& attribute : node.attribute()) {
    const std::string& name = attribute.name();
    if (name == "value") return DType(attribute.t().data_type());
    if (name == "sparse_value") return DType(attribute.sparse_tensor().values().data_type());
    if (name == "value_float" || name == "value_floats") return DType::kFloat32;
    if (name == "value_int" || name == "value_ints") return DType::kInt64;
    if (name == "value_string" || name == "value_strings") return DType::kString;
  }
  return DType::kUndefined;
}

/// The type that an attribute names; nothing without such an attribute.
std::optional<DType> TypeByAttribute(const onnx::NodeProto& node) {
  for (const auto& attribute : node.attribute()) {
    const std::string& name = attribute.name();
    if (name == "to" || name == "dtype" || name == "output_dtype") {
      if (attribute.i() != 0) return DType(attribute.i());
    }
    if (name == "value" && attribute.has_t()) return DType(attribute.t().data_type());
  }
  return std::nullopt;
}

bool Allows(uint32_t mask, DType type) {
  const auto number = static_cast<uint32_t>(type);
  return number < 32 && (mask >> number & 1U) != 0;
}

const SchemaParameter* ParameterAt(const std::vector<SchemaParameter>& parameters, int index) {
  if (index < std::ssize(parameters)) return &parameters[size_t(index)];
  return !parameters.empty() && parameters.back().repeats ? &parameters.back() : nullptr;
}

}  // namespace

/// Goes through the nodes in order, and through those of subgraphs in front of their owner.
class ValueTypes::Walk {
 public:
  Walk(const onnx::ModelProto& model, ValueTypes& types) : types_(types) {
    for (const auto& import : model.opset_import()) opsets_[import.domain()] = import.version();
    ForEachGraph(model.graph(), [&](const onnx::GraphProto& graph) {
      for (const auto* infos : {&graph.value_info(), &graph.output(), &graph.input()}) {
        for (const auto& info : *infos) declared_[info.name()] = ElementTypeOf(info);
      }
    });
    Visit(model.graph());
  }

 private:
  void Set(const std::string& name, DType type) {
    if (name.empty()) return;
    if (type == DType::kUndefined) {
      const auto declared = declared_.find(name);
      if (declared != declared_.end()) type = declared->second;
    }
    types_.types_[name] = type;
  }

  void Visit(const onnx::GraphProto& graph) {
    for (const auto& tensor : graph.initializer()) Set(tensor.name(), DType(tensor.data_type()));
    for (const auto& tensor : graph.sparse_initializer()) {
      Set(tensor.values().name(), DType(tensor.values().data_type()));
    }
    for (const auto& input : graph.input()) {
      const DType type = ElementTypeOf(input);
      if (type != DType::kUndefined) Set(input.name(), type);
    }
    for (const auto& node : graph.node()) {
      ForEachSubgraph(node, [&](const onnx::GraphProto& inner) {
        SetBodyInputs(node, inner);
        Visit(inner);
      });
      SetOutputs(node);
    }
  }

  /// Inputs of a body whose types nobody declares are those that its owner gives.
  void SetBodyInputs(const onnx::NodeProto& node, const onnx::GraphProto& body) {
    for (int i = 0; i < body.input_size() && i < node.input_size(); ++i) {
      const DType declared = ElementTypeOf(body.input(i));
      if (declared == DType::kUndefined) Set(body.input(i).name(), types_.Of(node.input(i)));
    }
  }

  void SetOutputs(const onnx::NodeProto& node) {
    const std::string& type = node.op_type();
    const bool standard = node.domain().empty();
    if (standard && (type == "If" || type == "Loop" || type == "Scan")) return SetFromBody(node);
    if (standard && type == "Constant") return Set(node.output(0), TypeOfConstant(node));
    if (standard && type == "Identity") return CopyType(node.input(0), node.output(0));
    if (standard && type == "CastLike") return Set(node.output(0), types_.Of(node.input(1)));
    if (standard && SetOfSequence(node)) return;
    const auto schema = FindSchema(node.domain(), type, opsets_[node.domain()]);
    const std::map<std::string_view, DType> bound =
        schema.has_value() ? Bind(node, *schema) : std::map<std::string_view, DType>();
    for (int i = 0; i < node.output_size(); ++i) {
      const SchemaParameter* const parameter =
          schema.has_value() ? ParameterAt(schema->outputs, i) : nullptr;
      Set(node.output(i),
          parameter == nullptr ? DType::kUndefined : OutputType(node, i, *parameter, bound));
    }
  }

  void CopyType(const std::string& from, const std::string& to) {
    Set(to, types_.Of(from));
    const auto sequence = types_.elements_.find(from);
    if (sequence != types_.elements_.end()) types_.elements_[to] = sequence->second;
  }

  /// Outputs of control flow are those of the body (of a Loop behind its condition).
  void SetFromBody(const onnx::NodeProto& node) {
    for (const auto& attribute : node.attribute()) {
      if (!attribute.has_g()) continue;
      const int first = node.op_type() == "Loop" ? 1 : 0;
      for (int i = 0; i < node.output_size() && i + first < attribute.g().output_size(); ++i) {
        CopyType(attribute.g().output(i + first).name(), node.output(i));
      }
    }
  }

  /// Whether the operator makes a sequence, or takes a tensor out of one.
  bool SetOfSequence(const onnx::NodeProto& node) {
    const std::string& type = node.op_type();
    if (type == "SequenceConstruct" || type == "SplitToSequence") {
      types_.elements_[node.output(0)] = types_.Of(node.input(0));
    } else if (type == "SequenceInsert" || type == "SequenceErase") {
      types_.elements_[node.output(0)] = types_.elements_[node.input(0)];
    } else if (type == "SequenceEmpty") {
      types_.elements_[node.output(0)] = TypeByAttribute(node).value_or(DType::kFloat32);
    } else if (type == "SequenceAt" || type == "ConcatFromSequence") {
      Set(node.output(0), types_.elements_[node.input(0)]);
    } else {
      return false;
    }
    return true;
  }

  std::map<std::string_view, DType> Bind(const onnx::NodeProto& node,
                                         const OperatorSchema& schema) const {
    std::map<std::string_view, DType> bound;
    for (int i = 0; i < node.input_size(); ++i) {
      const SchemaParameter* const parameter = ParameterAt(schema.inputs, i);
      const DType type = types_.Of(node.input(i));
      if (parameter == nullptr || type == DType::kUndefined || parameter->mixed) continue;
      bound.try_emplace(parameter->type, type);
    }
    return bound;
  }

  /// What an attribute says of the first output; else the type that inputs bind; else the only one
  /// that is possible, and FLOAT where nothing else tells.
  static DType OutputType(const onnx::NodeProto& node, int index, const SchemaParameter& parameter,
                          const std::map<std::string_view, DType>& bound) {
    if (parameter.mask == 0 || parameter.mixed) return DType::kUndefined;
    const auto named = index == 0 ? TypeByAttribute(node) : std::nullopt;
    if (named.has_value() && Allows(parameter.mask, *named)) return *named;
    if (const auto found = bound.find(parameter.type); found != bound.end()) return found->second;
    if (std::has_single_bit(parameter.mask)) return DType(std::countr_zero(parameter.mask));
    // EyeLike, Bernoulli …: as the input, where it may be.
    const auto first = bound.find("T1");
    if (first != bound.end() && Allows(parameter.mask, first->second)) return first->second;
    return Allows(parameter.mask, DType::kFloat32) ? DType::kFloat32 : DType::kUndefined;
  }

  ValueTypes& types_;
  std::map<std::string, int64_t> opsets_;
  std::unordered_map<std::string, DType> declared_;
};

ValueTypes::ValueTypes(const onnx::ModelProto& model, std::unordered_map<std::string, DType> known)
    : types_(std::move(known)) {
  Walk(model, *this);
}

DType ValueTypes::Of(const std::string& name) const {
  const auto found = types_.find(name);
  return found != types_.end() ? found->second : DType::kUndefined;
}

}  // namespace ptq
