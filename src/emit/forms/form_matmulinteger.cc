// DynamicQuantizeLinear in front of MatMulInteger: products of 8-bit integers, the activations
// rounded at every run. ONNX operators DynamicQuantizeLinear-11, MatMulInteger-10. ONNX Runtime
// fuses these nodes into DynamicQuantizeMatMul, or MatMulIntegerToFloat where several linears read
// one activation.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "bit_packing.h"
#include "form_nodes.h"
#include "forms.h"
#include "quantized_attention.h"

#include "ptq/base/error.h"
#include "ptq/emit/stored_codes.h"
#include "ptq/transform/opset_upgrade.h"

namespace ptq {
namespace {

constexpr int64_t kDynamicOpset = 11;
/// Products of two 8-bit integers that certainly fit into 32 bits: 2^31 / 255².
constexpr int64_t kMostProducts = 33025;

/// The activation's codes; made by the first of the linears that read it.
RoundedInput Rounded(const LinearToEmit& linear, std::vector<onnx::NodeProto>& nodes) {
  const std::string base = linear.output + "_input";  // no other node's output has that name
  RoundedInput rounded{base + "_codes", base + "_scale", base + "_zero_point"};
  if (linear.rounded != nullptr) {
    const auto [known, is_new] = linear.rounded->try_emplace(linear.input, rounded);
    if (!is_new) return known->second;
  }
  std::string input = linear.input;
  if (linear.type != DType::kFloat32) {
    input = base + "_float";
    nodes.push_back(
        MakeCast(linear.node_name + "/input_cast", linear.input, input, DType::kFloat32));
  }
  auto node =
      MakeNode("DynamicQuantizeLinear", linear.node_name + "/round", {input}, rounded.codes);
  node.add_output(rounded.scale);
  node.add_output(rounded.zero_point);
  nodes.push_back(std::move(node));
  return rounded;
}

class MatMulInteger : public LinearForm {
 public:
  [[nodiscard]] std::string_view name() const override { return "matmulinteger"; }
  [[nodiscard]] const TableForm& tables() const override { return GatherRowsForm(); }
  [[nodiscard]] Activations activations(const FormParameters&) const override {
    return Activations::kDynamic;
  }

  void CheckSpec(const QuantSpec& spec) const override {
    if (spec.bits != 8) {
      throw UsageError("MatMulInteger multiplies codes of 8 bits, not of " +
                       std::to_string(spec.bits));
    }
    if (spec.group_size != 0) {
      throw UsageError("MatMulInteger has one scale a row ('channel'), no groups of " +
                       std::to_string(spec.group_size));
    }
  }

  [[nodiscard]] std::string Refusal(const TensorFacts& tensor,
                                    const FormParameters& parameters) const override {
    if (tensor.kind == SubjectKind::kExpert) return kNoExperts;
    if (tensor.kind == SubjectKind::kStack) return "MatMulInteger picks from no stack of matrices";
    if (AsStored(parameters.spec).bits != 8 || parameters.spec.group_size != 0) {
      return "MatMulInteger has codes of 8 bits with one scale a row";
    }
    if (tensor.k <= kMostProducts) return "";
    return "sums of " + std::to_string(tensor.k) + " products of 8-bit codes leave 32 bits";
  }

  // The same weights with activations as they are.
  [[nodiscard]] std::span<const std::string_view> Fallbacks() const override {
    static constexpr std::string_view kForms[] = {"matmulnbits", "qmoe"};
    return kForms;
  }

  [[nodiscard]] int64_t Bytes(const TensorFacts& tensor,
                              const FormParameters& parameters) const override {
    const int64_t grid = BytesOf(DType::kFloat32, 1) + 1;
    return tensor.n * (tensor.k + grid) - (parameters.spec.symmetric ? tensor.n : 0);
  }

  void PrepareModel(onnx::ModelProto& /*model*/, std::span<const QuantSpec>) const override {}

  [[nodiscard]] std::pair<int64_t, std::string> OpsetNeeded(
      std::span<const QuantSpec> /*specs*/) const override {
    return {kDynamicOpset, "rounding activations at every run"};
  }

  [[nodiscard]] std::vector<onnx::NodeProto> Emit(const LinearToEmit& linear,
                                                  TensorSink& sink) const override {
    const QuantizedMatrix& q = *linear.q;
    CheckSpec(q.spec);
    std::vector<onnx::NodeProto> nodes;
    const RoundedInput x = Rounded(linear, nodes);
    std::vector<std::string> operands = {
        x.codes,
        sink.AddPacked(linear.name + ".weight_q8", IntegerType(q.spec), {q.k, q.n},
                       [&] { return PackIntegers(Transposed(q.codes, q.n, q.k), q.spec); }),
        x.zero_point};
    if (!q.spec.symmetric) {
      operands.push_back(sink.AddPacked(linear.name + ".weight_zero_points", DType::kUint8, {q.n},
                                        [&] { return PackIntegers(q.zero_points, q.spec); }));
    }
    const std::string scales = AddFloats(sink, linear.name + ".weight_scales", DType::kFloat32,
                                         {q.n}, [&] { return q.scales; });
    if (IsWholeAttention(linear)) {
      nodes.push_back(QAttentionNode(linear, x, operands, scales));
      return nodes;
    }
    const auto at = [&](const char* what) { return linear.output + what; };
    const auto add = [&](const char* type, const char* part, const std::vector<std::string>& inputs,
                         const std::string& output) {
      nodes.push_back(MakeNode(type, linear.node_name + part, inputs, output));
    };
    add("MatMulInteger", "", operands, at("_integers"));
    nodes.push_back(
        MakeCast(linear.node_name + "/float", at("_integers"), at("_unscaled"), DType::kFloat32));
    add("Mul", "/scales", {x.scale, scales}, at("_scales"));
    AddScaled(linear, nodes);
    return nodes;
  }

  [[nodiscard]] std::vector<onnx::NodeProto> EmitStack(const StackToEmit& /*stack*/,
                                                       TensorSink& /*sink*/) const override {
    throw InternalError("MatMulInteger picks from no stack of matrices");
  }

 private:
  /// The product in floats, in the graph's type, with the bias.
  static void AddScaled(const LinearToEmit& linear, std::vector<onnx::NodeProto>& nodes) {
    const bool casts = linear.type != DType::kFloat32;
    const std::string product = linear.bias.empty() ? linear.output : linear.output + "_product";
    const std::string scaled = casts ? linear.output + "_scaled" : product;
    nodes.push_back(MakeNode("Mul", linear.node_name + "/scale",
                             {linear.output + "_unscaled", linear.output + "_scales"}, scaled));
    if (casts) {
      nodes.push_back(MakeCast(linear.node_name + "/output_cast", scaled, product, linear.type));
    }
    if (linear.bias.empty()) return;
    nodes.push_back(
        MakeNode("Add", linear.node_name + "/bias", {product, linear.bias}, linear.output));
  }
};

}  // namespace

const LinearForm& MatMulIntegerForm() {
  static const MatMulInteger form;
  return form;
}

}  // namespace ptq
