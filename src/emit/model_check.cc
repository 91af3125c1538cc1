// Checks a written model against the schemas of its operators.
#include "ptq/emit/model_check.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/model/graph_walk.h"
#include "ptq/model/operator_schemas.h"
#include "ptq/tensor/dtype.h"

namespace ptq {
namespace {

/// Element types, by TensorProto.DataType; 0 is unknown.
using ElementType = int;

/// The IR version of onnx.proto that introduced a type.
int64_t IrVersionOf(ElementType type) {
  if (type >= 25) return 13;  // 2-bit integers
  if (type == 24) return 12;  // float8e8m0
  if (type == 23) return 11;  // float4
  if (type >= 21) return 10;  // 4-bit integers
  return type >= 17 ? 9 : 3;  // float8
}

std::string TypeName(ElementType type) {
  const DType dtype{type};
  return BitsOf(dtype) > 0 || dtype == DType::kString ? std::string(DTypeName(dtype))
                                                      : "type " + std::to_string(type);
}

/// The letter by which a schema calls an attribute's type.
char LetterOf(const onnx::AttributeProto& attribute) {
  using Proto = onnx::AttributeProto;
  static constexpr auto kLetters =
      std::to_array<std::pair<Proto::AttributeType, char>>({{Proto::INT, 'i'},
                                                            {Proto::INTS, 'I'},
                                                            {Proto::FLOAT, 'f'},
                                                            {Proto::FLOATS, 'F'},
                                                            {Proto::STRING, 's'},
                                                            {Proto::STRINGS, 'S'},
                                                            {Proto::TENSOR, 't'},
                                                            {Proto::TENSORS, 'T'},
                                                            {Proto::GRAPH, 'g'},
                                                            {Proto::GRAPHS, 'G'},
                                                            {Proto::SPARSE_TENSOR, 'p'},
                                                            {Proto::TYPE_PROTO, 'y'}});
  const auto* found =
      std::ranges::find(kLetters, attribute.type(), &std::pair<Proto::AttributeType, char>::first);
  return found != kLetters.end() ? found->second : '\0';
}

/// What is known of the values that a graph sees, those of the graphs around it included.
class Types {
 public:
  explicit Types(const Types* outer) : outer_(outer) {}
  void Set(const std::string& name, ElementType type) {
    if (!name.empty()) own_[name] = type;  // an absent output is no value
  }
  [[nodiscard]] ElementType Of(const std::string& name) const {
    const auto found = own_.find(name);
    if (found != own_.end()) return found->second;
    return outer_ != nullptr ? outer_->Of(name) : 0;
  }

 private:
  const Types* outer_;
  std::unordered_map<std::string, ElementType> own_;
};

/// The type of an output that an attribute names; 0 without one.
ElementType TypeByAttribute(const onnx::NodeProto& node) {
  for (const auto& attribute : node.attribute()) {
    if (attribute.name() == "to" || attribute.name() == "dtype" ||
        attribute.name() == "output_dtype") {
      return static_cast<ElementType>(attribute.i());
    }
    if (attribute.name() == "value" && attribute.has_t()) return attribute.t().data_type();
  }
  return 0;
}

std::string DomainOf(const std::string& domain) { return domain == "ai.onnx" ? "" : domain; }

constexpr char kDomain[] = "domain";

/// Why a runtime would not load a model.
struct Finding {
  std::string what;  ///< the kind of thing that is wrong, the same wherever it is found
  std::string reason;
  std::string text;  ///< for the user
};

class Checker {
 public:
  explicit Checker(const onnx::ModelProto& model) : model_(model) {}

  [[nodiscard]] std::vector<Finding> Run() {
    for (const auto& import : model_.opset_import()) {
      const std::string name = DomainOf(import.domain());
      if (opsets_.emplace(name, import.version()).second) continue;
      Add(kDomain, name,
          "the written model imports the domain '" + name +
              "' twice; no runtime says which version counts");
    }
    CheckGraph(model_.graph(), nullptr);
    return std::move(findings_);
  }

 private:
  void CheckGraph(const onnx::GraphProto& graph, const Types* outer) {
    Types types(outer);
    for (const auto& input : graph.input()) {
      types.Set(input.name(), input.type().tensor_type().elem_type());
    }
    for (const auto& tensor : graph.initializer()) {
      CheckInitializer(tensor);
      types.Set(tensor.name(), tensor.data_type());
    }
    for (const auto& node : graph.node()) CheckNode(node, types);
    for (const auto& output : graph.output()) CheckDeclared(output, types);
    for (const auto& info : graph.value_info()) CheckDeclared(info, types);
  }

  void CheckInitializer(const onnx::TensorProto& tensor) {
    const int64_t needed = IrVersionOf(tensor.data_type());
    if (model_.ir_version() >= needed) return;
    Add("initializer", tensor.name(),
        "the written initializer '" + tensor.name() + "' is " + TypeName(tensor.data_type()) +
            ", which needs IR version " + std::to_string(needed) + "; the model has " +
            std::to_string(model_.ir_version()));
  }

  void CheckDeclared(const onnx::ValueInfoProto& info, const Types& types) {
    const ElementType declared = info.type().tensor_type().elem_type();
    const ElementType found = types.Of(info.name());
    if (declared == 0 || found == 0 || declared == found) return;
    Add("value", info.name(),
        "the written value '" + info.name() + "' is declared as " + TypeName(declared) +
            " and is " + TypeName(found));
  }

  void CheckNode(const onnx::NodeProto& node, Types& types) {
    ForEachSubgraph(node, [&](const onnx::GraphProto& graph) { CheckGraph(graph, &types); });
    const std::string domain = DomainOf(node.domain());
    const auto import = opsets_.find(domain);
    opset_ = import == opsets_.end() ? 0 : import->second;
    const auto schema = FindSchema(domain, node.op_type(), opset_);
    if (!schema.has_value()) return;
    if (import == opsets_.end()) return Refuse(node, "the model does not import its domain");
    // ONNX Runtime has LayerNormalization from the first opset on; what is wrong with a source's
    // own is found here, too, so that it is not taken for a fault of the upgrade.
    if (schema->since > opset_ && node.op_type() != "LayerNormalization") {
      return Refuse(node, "it came with opset " + std::to_string(schema->since));
    }
    if (schema->most_inputs < 0) return Refuse(node, "it no longer exists");
    CheckAttributes(node, *schema);
    CheckValues(node, *schema, types);
  }

  void CheckAttributes(const onnx::NodeProto& node, const OperatorSchema& schema) {
    for (const auto& attribute : node.attribute()) {
      const auto known =
          std::ranges::find(schema.attributes, attribute.name(), &SchemaAttribute::name);
      if (known != schema.attributes.end()) {
        const bool typed = attribute.type() != onnx::AttributeProto::UNDEFINED;
        if (!typed || LetterOf(attribute) == known->type) continue;
        Refuse(node, "its attribute '" + attribute.name() + "' has another type");
        continue;
      }
      if (!attribute.name().starts_with("__")) {  // by which runtimes let pass what is private
        Refuse(node, "it has no attribute '" + attribute.name() + "'");
      }
    }
    for (const SchemaAttribute& known : schema.attributes) {
      const bool given = std::ranges::any_of(
          node.attribute(), [&](const auto& own) { return own.name() == known.name; });
      if (known.required && !given) {
        Refuse(node, "its attribute '" + std::string(known.name) + "' is missing");
      }
    }
  }

  void CheckValues(const onnx::NodeProto& node, const OperatorSchema& schema, Types& types) {
    if (node.input_size() < schema.least_inputs || node.input_size() > schema.most_inputs) {
      return Refuse(node, "it does not take " + std::to_string(node.input_size()) + " inputs");
    }
    std::map<std::string_view, ElementType> bound;
    for (int i = 0; i < node.input_size(); ++i) {
      const SchemaParameter* parameter = ParameterOf(schema.inputs, i);
      const ElementType type = types.Of(node.input(i));
      if (parameter == nullptr || parameter->mask == 0 || type <= 0 || type > 31) continue;
      if ((parameter->mask >> unsigned(type) & 1U) == 0) {
        Refuse(node, "its input '" + node.input(i) + "' cannot be " + TypeName(type));
      }
      const auto [entry, first] = bound.try_emplace(parameter->type, type);
      if (!first && entry->second != type && !parameter->mixed) {
        Refuse(node, "its inputs must be of one type, and are " + TypeName(entry->second) +
                         " and " + TypeName(type));
      }
    }
    for (int i = 0; i < node.output_size(); ++i) {
      const SchemaParameter* parameter = ParameterOf(schema.outputs, i);
      if (parameter == nullptr) return Refuse(node, "it does not have that many outputs");
      types.Set(node.output(i), OutputType(node, i, *parameter, bound));
    }
  }

  [[nodiscard]] ElementType OutputType(const onnx::NodeProto& node, int index,
                                       const SchemaParameter& parameter,
                                       const std::map<std::string_view, ElementType>& bound) {
    if (parameter.mask == 0 || parameter.mixed) return 0;
    const ElementType named = index == 0 ? TypeByAttribute(node) : 0;
    if (named > 0 && named < 32) {
      if ((parameter.mask >> unsigned(named) & 1U) == 0) {
        Refuse(node, "its output cannot be " + TypeName(named));
      }
      return named;
    }
    const auto found = bound.find(parameter.type);
    if (found != bound.end()) return found->second;
    return std::has_single_bit(parameter.mask) ? std::countr_zero(parameter.mask) : 0;
  }

  static const SchemaParameter* ParameterOf(const std::vector<SchemaParameter>& parameters,
                                            int index) {
    if (index < std::ssize(parameters)) return &parameters[size_t(index)];
    return !parameters.empty() && parameters.back().repeats ? &parameters.back() : nullptr;
  }

  void Refuse(const onnx::NodeProto& node, const std::string& reason) {
    const std::string name =
        node.name().empty() && node.output_size() > 0 ? node.output(0) : node.name();
    const std::string domain = node.domain().empty() ? "ai.onnx" : node.domain();
    Add(domain + " " + node.op_type(), reason,
        "no runtime would load the written node '" + name + "' (" + node.op_type() + " of " +
            domain + " " + std::to_string(opset_) + "): " + reason);
  }

  void Add(std::string what, std::string reason, std::string text) {
    findings_.push_back({std::move(what), std::move(reason), std::move(text)});
  }

  const onnx::ModelProto& model_;
  std::map<std::string, int64_t> opsets_;
  int64_t opset_ = 0;  ///< of the node at hand
  std::vector<Finding> findings_;
};

}  // namespace

void CheckLoads(const onnx::ModelProto& model, const onnx::ModelProto& source) {
  const std::vector<Finding> findings = Checker(model).Run();
  if (findings.empty()) return;
  // What a source has already is its own, whatever it is worth.
  std::set<std::pair<std::string, std::string>> given;
  for (const Finding& finding : Checker(source).Run()) given.emplace(finding.what, finding.reason);
  for (const Finding& finding : findings) {
    if (finding.what != kDomain && given.contains({finding.what, finding.reason})) continue;
    throw QualityError("verification: " + finding.text + "; nothing was kept");
  }
}

void CheckLoads(const std::filesystem::path& file, const onnx::ModelProto& source) {
  const auto mapped = MappedFile::Open(file);
  const auto bytes = mapped->bytes();
  onnx::ModelProto model;
  if (bytes.size() > size_t(std::numeric_limits<int>::max()) ||
      !model.ParseFromArray(bytes.data(), int(bytes.size()))) {
    throw QualityError("verification: the written '" + file.string() + "' does not parse");
  }
  CheckLoads(model, source);
}

}  // namespace ptq
