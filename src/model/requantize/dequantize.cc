// Applies the rules of dequantize_rules.cc scope by scope, and removes what nobody reads any more.
#include "dequantize.h"

#include <algorithm>
#include <array>
#include <utility>

#include "dequantize_rewriter.h"

#include "ptq/base/error.h"
#include "ptq/model/graph_walk.h"
#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

using Stored = QuantizedWeight::Stored;

/// What the nodes of a graph, and of those within it, read, and what these give out.
std::set<std::string> NamesUsed(const onnx::GraphProto& main) {
  std::set<std::string> used;
  ForEachGraph(main, [&](const onnx::GraphProto& graph) {
    for (const auto& value : graph.output()) used.insert(value.name());
    for (const auto& node : graph.node()) used.insert(node.input().begin(), node.input().end());
  });
  return used;
}

/// "layers.0.q_proj.weight_q4" or "onnx::MatMul_7_Q4" without what quantizers have appended.
std::string FloatName(std::string name) {
  static constexpr std::array<std::string_view, 14> kSuffixes = {
      "_q2",        "_q4",    "_q8",     "_Q2",   "_Q4",   "_Q8",    "_DQ",
      "_quantized", "_Q4G32", "_Q4G128", "_Bnb4", "_bnb4", "_quant", "_int8"};
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view suffix : kSuffixes) {
      if (name.size() <= suffix.size() || !name.ends_with(suffix)) continue;
      name.resize(name.size() - suffix.size());
      again = true;
    }
  }
  constexpr std::string_view kGroupwise = ".qweight";
  if (name.ends_with(kGroupwise)) name.replace(name.size() - kGroupwise.size(), 2, ".");
  return name;
}

/// What decides the elements of a weight.
std::string KeyOf(const QuantizedWeight& weight) {
  std::string key = ToString(weight.shape);
  for (const int64_t number :
       {int64_t(weight.dtype), int64_t(weight.code_type), weight.row_codes, weight.axis,
        weight.block, weight.zero_row, int64_t(weight.default_zero)}) {
    key += "," + std::to_string(number);
  }
  for (const onnx::TensorProto* part : weight.Parts()) {
    key += "," + std::to_string(reinterpret_cast<uintptr_t>(part));
  }
  return key;
}

}  // namespace

DequantizeRewriter::DequantizeRewriter(onnx::ModelProto& model, const WeightReader* weights,
                                       bool float_activations)
    : model_(model), reader_(weights), float_activations_(float_activations) {
  if (changes()) known_ = UniqueNames(model.graph());
}

void DequantizeRewriter::Run() {
  onnx::GraphProto& graph = *model_.mutable_graph();
  Rewrite(graph, nullptr);
  for (auto& tensor : initializers_) *graph.add_initializer() = std::move(tensor);
  initializers_.clear();
  if (!renamed_.empty()) RenameInputs(graph);
  for (bool changed = changes(); changed;) {
    changed = false;
    RemoveRetired(graph, NamesUsed(graph), changed);
  }
}

void DequantizeRewriter::Rewrite(onnx::GraphProto& graph, const Scope* outer) {
  Scope scope{outer, {}, {}};
  for (const auto& tensor : graph.initializer()) {
    // Those of the main graph stay where they are; those of a branch go.
    scope.constants[tensor.name()] = outer == nullptr
                                         ? Stored(Stored(), &tensor)
                                         : std::make_shared<const onnx::TensorProto>(tensor);
  }
  for (const auto& node : graph.node()) {
    for (const auto& output : node.output()) scope.producers[output] = &node;
    const onnx::TensorProto* const constant = ConstantOf(node);
    if (constant == nullptr) continue;
    scope.constants[node.output(0)] = std::make_shared<const onnx::TensorProto>(*constant);
  }
  const Scope* const before = std::exchange(scope_, &scope);
  std::vector<onnx::NodeProto>* const heirs_before = heirs_;
  std::vector<onnx::NodeProto> nodes;
  for (auto& node : *graph.mutable_node()) {
    ForEachSubgraph(node, [&](onnx::GraphProto& inner) { Rewrite(inner, &scope); });
    std::vector<onnx::NodeProto> heirs;
    heirs_ = &heirs;
    const bool replaced = DequantizeNode(*this, Node(node, OpsetOf(model_, node.domain())));
    if (!changes()) continue;
    if (!replaced) heirs.assign(1, node);
    std::ranges::move(heirs, std::back_inserter(nodes));
  }
  scope_ = before;
  heirs_ = heirs_before;
  if (!changes()) return;
  graph.clear_node();
  for (auto& node : nodes) *graph.add_node() = std::move(node);
}

void DequantizeRewriter::RenameInputs(onnx::GraphProto& graph) {
  for (auto& node : *graph.mutable_node()) {
    for (auto& name : *node.mutable_input()) {
      const auto found = renamed_.find(name);
      if (found != renamed_.end()) name = found->second;
    }
    ForEachSubgraph(node, [&](onnx::GraphProto& inner) { RenameInputs(inner); });
  }
  for (const auto& value : graph.output()) {
    const auto found = renamed_.find(value.name());
    if (found == renamed_.end()) continue;
    auto& identity = *graph.add_node();
    identity.set_op_type("Identity");
    identity.add_input(found->second);
    identity.add_output(value.name());
  }
}

void DequantizeRewriter::RemoveRetired(onnx::GraphProto& graph, const std::set<std::string>& used,
                                       bool& changed) {
  const auto gone = [&](const std::string& name) {
    return retired_.contains(name) && !used.contains(name);
  };
  auto& nodes = *graph.mutable_node();
  for (int i = nodes.size() - 1; i >= 0; --i) {
    ForEachSubgraph(*nodes.Mutable(i),
                    [&](onnx::GraphProto& inner) { RemoveRetired(inner, used, changed); });
    const auto& outputs = nodes.Get(i).output();
    if (!std::ranges::any_of(outputs, gone) ||
        std::ranges::any_of(outputs, [&](const auto& name) { return used.contains(name); })) {
      continue;
    }
    retired_.insert(nodes.Get(i).input().begin(), nodes.Get(i).input().end());
    nodes.DeleteSubrange(i, 1);
    changed = true;
  }
  if (&graph == &model_.graph()) return;
  auto& tensors = *graph.mutable_initializer();
  for (int i = tensors.size() - 1; i >= 0; --i) {
    if (gone(tensors.Get(i).name())) tensors.DeleteSubrange(i, 1);
  }
}

Stored DequantizeRewriter::Constant(const std::string& name) const {
  if (name.empty()) return nullptr;
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->outer) {
    const auto found = scope->constants.find(name);
    if (found != scope->constants.end()) return found->second;
    if (scope->producers.contains(name)) return nullptr;
  }
  return nullptr;
}

const onnx::NodeProto* DequantizeRewriter::Producer(const std::string& name) const {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->outer) {
    const auto found = scope->producers.find(name);
    if (found != scope->producers.end()) return found->second;
  }
  return nullptr;
}

const onnx::NodeProto* DequantizeRewriter::Producer(const std::string& name,
                                                    std::string_view op_type) const {
  const onnx::NodeProto* const node = Producer(name);
  const bool is = node != nullptr && node->op_type() == op_type && IsKnownDomain(node->domain());
  return is ? node : nullptr;
}

void DequantizeRewriter::Found(const Node& node, const Stored& codes, int bits) {
  found_.nodes.push_back({node.op_type(), node.name(), bits});
  for (const auto& name : node.proto().input()) {
    if (Constant(name) == codes) Retire(name);
  }
}

std::string DequantizeRewriter::AddWeight(QuantizedWeight weight) {
  if (!changes()) return "";
  const auto [entry, added] = names_.try_emplace(KeyOf(weight));
  if (!added) return entry->second;
  entry->second = Unique(FloatName(weight.codes->name()));
  onnx::TensorProto tensor;
  tensor.set_name(entry->second);
  tensor.set_data_type(static_cast<int32_t>(weight.dtype));
  for (const int64_t dim : weight.shape) tensor.add_dims(dim);
  tensor.set_data_location(onnx::TensorProto::EXTERNAL);
  auto* place = tensor.add_external_data();
  place->set_key(kQuantizedKey);
  place->set_value(std::to_string(weights_.size()));
  initializers_.push_back(std::move(tensor));
  weights_.push_back(std::make_shared<const QuantizedWeight>(std::move(weight)));
  return entry->second;
}

std::string DequantizeRewriter::AddFloats(const std::string& name,
                                          const std::vector<float>& values) {
  onnx::TensorProto tensor;
  tensor.set_name(Unique(name));
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  tensor.add_dims(static_cast<int64_t>(values.size()));
  tensor.set_raw_data(values.data(), values.size() * sizeof(float));
  initializers_.push_back(tensor);
  return tensor.name();
}

std::vector<float> DequantizeRewriter::ReadFloats(const Stored& constant) const {
  const Tensor values = reader_->Read(*constant).Cast(DType::kFloat32);
  return {values.data<float>().begin(), values.data<float>().end()};
}

onnx::NodeProto& DequantizeRewriter::Emit(const std::string& type, const std::string& name,
                                          const std::vector<std::string>& inputs,
                                          const std::string& output, const std::string& domain) {
  onnx::NodeProto& node = heirs_->emplace_back(MakeNode(type, name, inputs, output));
  node.set_domain(domain);
  return node;
}

DType DequantizeRewriter::TypeOf(const std::string& value) {
  if (!types_.has_value()) types_.emplace(model_);
  return types_->Of(value);
}

void DequantizeRewriter::Declare(const std::string& value, DType dtype, int64_t factor) {
  declared_.insert(value);
  ForEachGraph(*model_.mutable_graph(), [&](onnx::GraphProto& graph) {
    ForEachDeclaration(graph, [&](onnx::ValueInfoProto& declared) {
      if (declared.name() != value) return;
      auto& type = *declared.mutable_type()->mutable_tensor_type();
      type.set_elem_type(static_cast<int32_t>(dtype));
      const int rank = type.shape().dim_size();
      if (rank == 0 || !type.shape().dim(rank - 1).has_dim_value()) return;
      auto& last = *type.mutable_shape()->mutable_dim(rank - 1);
      last.set_dim_value(last.dim_value() * factor);
    });
  });
}

QuantizedWeights FindQuantizedWeights(onnx::ModelProto& model) {
  DequantizeRewriter finder(model, nullptr);
  finder.Run();
  return std::move(finder.found());
}

std::vector<std::shared_ptr<const QuantizedWeight>> DequantizeWeights(onnx::ModelProto& model,
                                                                      const WeightReader& weights,
                                                                      bool float_activations) {
  DequantizeRewriter rewriter(model, &weights, float_activations);
  rewriter.Run();
  const QuantizedWeights left = FindQuantizedWeights(model);
  if (!left.nodes.empty()) {
    const QuantizedNode& node = left.nodes.front();
    throw UnsupportedError("node '" + node.name + "' (" + node.op_type +
                           "): its quantized weight cannot be turned into floats; quantize the "
                           "original model instead");
  }
  return rewriter.TakeWeights();
}

}  // namespace ptq
