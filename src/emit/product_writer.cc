// Finds out what stands around a product, and asks the form for the nodes.
#include "product_writer.h"

#include <algorithm>
#include <iterator>

#include "packed_attention.h"

#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

constexpr Use kNowhere{-1, -1};

}  // namespace

TensorRanks& ProductWriter::RanksOf(int scope) {
  if (const auto known = ranks_.find(scope); known != ranks_.end()) return known->second;
  const Graph& source = output_.source;
  const Scope& own = source.scope(scope);
  TensorRanks* const outer = own.parent < 0 ? nullptr : &RanksOf(own.parent);
  const int64_t opset = OpsetOf(source.model().proto(), "");
  return ranks_.try_emplace(scope, *own.proto, opset, outer).first->second;
}

/// Whether the activation has two dimensions for sure.
bool ProductWriter::IsMatrix(int node) {
  const Graph& source = output_.source;
  if (source.nodes()[size_t(node)].op_type() == "Gemm") return true;
  const std::string& name = source.value(source.inputs(node)[0]).name;
  return RanksOf(source.ScopeOf(node)).Of(name) == 2;
}

/// Where a node reads the float32 constants [N] that are added to the product: itself (the bias
/// that it has), or an Add behind it.
Use ProductWriter::AddendOf(const Linear& linear, int node, ValueId bias) const {
  if (linear.operand_type != DType::kFloat32 || plan_.half.has_value()) return kNowhere;
  const Graph& source = output_.source;
  Use addend = node == linear.node ? linear.bias_add : kNowhere;
  if (bias != kNoValue) addend = {node, 2};
  if (addend.node < 0) return kNowhere;
  const std::string& type = source.nodes()[size_t(addend.node)].op_type();
  const ValueId id = source.inputs(addend.node)[size_t(addend.input)];
  const StoredTensor* const constant = source.value(id).constant;
  const bool fits = (type == "Add" || type == "Gemm") && constant != nullptr &&
                    static_cast<DType>(constant->data_type()) == DType::kFloat32 &&
                    constant->dims_size() == 1;
  return fits ? addend : kNowhere;
}

/// As they are now; none in a draft.
ProductWriter::Addend ProductWriter::ValuesOf(const Use& addend) const {
  if (output_.store.measures()) return {};
  const Tensor now = folded_.Now(addend);
  const auto values = now.data<float>();
  return {{values.begin(), values.end()}, folded_.DivisorOf(addend)};
}

onnx::NodeProto ProductWriter::WithAddend(const Use& addend, const std::string& name) const {
  onnx::NodeProto node = output_.source.nodes()[size_t(addend.node)].proto();
  for (int i = 0; i < node.input_size(); ++i) {
    node.set_input(i, i == addend.input ? name : output_.editor->InputOf(addend.node, i));
  }
  return node;
}

LinearToEmit ProductWriter::Product(const Linear& linear, int node, ValueId bias) const {
  const Node& product = output_.source.nodes()[size_t(node)];
  LinearToEmit emit;
  emit.name = linear.name;
  emit.input = output_.editor->InputOf(node, 0);
  emit.output = product.output(0);
  if (bias != kNoValue) emit.bias = output_.editor->InputOf(node, 2);
  if (const auto own = own_biases_.find(node); own != own_biases_.end()) {
    emit.bias = own->second.name;
  }
  emit.node_name = product.proto().name();
  if (emit.node_name.empty()) emit.node_name = linear.name;
  emit.type = linear.operand_type;
  emit.q = nullptr;
  emit.accuracy_level = linear.decision.parameters.FirstLevel();
  return emit;
}

ProductWriter::Written ProductWriter::Quantize(const Linear& linear, const Factors& factors,
                                               int node, ValueId bias) {
  LinearToEmit emit = Product(linear, node, bias);
  emit.name = factors.name;
  emit.own_name = linear.name;
  emit.q = &factors.q;
  emit.activations = linear.decision.activations();
  // Levels that calibration could not find would cut everything off.
  if (emit.activations == Activations::kStatic && !factors.levels.has_value()) {
    emit.activations = Activations::kFloat;
  }
  emit.levels = factors.levels.value_or(ActivationLevels());
  emit.is_matrix = IsMatrix(node);
  emit.rounded = &rounded_[output_.source.ScopeOf(node)];
  Written written;
  std::vector<onnx::NodeProto> nodes =
      QuantizeAddend(linear, AddendOf(linear, node, bias), node, emit, written);
  emit.attention = FindPackedAttention(output_.source, *output_.editor, node);
  const LinearForm& form = WriterOf(*linear.decision.form);
  std::ranges::move(form.Emit(emit, output_.store), std::back_inserter(nodes));
  const bool whole = emit.attention && nodes.back().output(0) == emit.attention->packed->output(0);
  written.heirs.emplace_back(whole ? emit.attention->node : node, std::move(nodes));
  return written;
}

/// Lets the form write what is added to the product in its own way.
std::vector<onnx::NodeProto> ProductWriter::QuantizeAddend(const Linear& linear, const Use& addend,
                                                           int node, LinearToEmit& emit,
                                                           Written& written) {
  const LinearForm& form = WriterOf(*linear.decision.form);
  const int64_t at = output_.store.bytes_written();
  const auto own = own_biases_.find(node);
  const bool has_own = own != own_biases_.end();
  Addend constants;
  if (has_own && linear.operand_type == DType::kFloat32 && !plan_.half.has_value()) {
    constants.values = own->second.values;
  } else if (addend.node >= 0) {
    constants = ValuesOf(addend);
  } else {
    return {};
  }
  const EmittedAddend emitted = form.EmitAddend(emit, constants.values, output_.store);
  const std::vector<onnx::NodeProto>& nodes = emitted.nodes;
  if (nodes.empty()) return {};
  for (size_t i = 0; i < emitted.values.size(); ++i) {
    const float divisor = constants.divisor.empty() ? 1.0f : constants.divisor[i];
    written.addend_error.push_back((emitted.values[i] - constants.values[i]) * divisor);
  }
  written.aside = output_.store.bytes_written() - at;
  const std::string name = nodes.back().output(0);
  if (has_own || addend.node == node) {
    emit.bias = name;
    emit.own_bias = true;
  } else {
    written.heirs.push_back({addend.node, {WithAddend(addend, name)}});
    emit.is_matrix = false;  // ONNX Runtime makes a Gemm of both
  }
  return nodes;
}

}  // namespace ptq
