// com.microsoft MatMulNBits: Y = A · dequantize(B)ᵀ + bias with w = (code − zero point) · scale.
// Layout and limits: ONNX Runtime's operator schema, checked against ONNX Runtime 1.31.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "bit_packing.h"
#include "form_nodes.h"
#include "forms.h"
#include "nbits_blocks.h"

#include "ptq/emit/stored_codes.h"
#include "ptq/tensor/block_rounding.h"

namespace ptq {
namespace {

/// Gathered matrices that are turned need an Einsum behind them.
constexpr int64_t kEinsumOpset = 12;

class MatMulNBits : public LinearForm {
 public:
  [[nodiscard]] std::string_view name() const override { return "matmulnbits"; }

  [[nodiscard]] const TableForm& tables() const override { return GatherBlocksForm(); }

  void CheckSpec(const QuantSpec& spec) const override { CheckBlocks("MatMulNBits", spec); }

  // A stack is no product, but GatherBlockQuantized in front of one, whose table is not padded.
  [[nodiscard]] std::string Refusal(const TensorFacts& tensor,
                                    const FormParameters& parameters) const override {
    if (tensor.kind == SubjectKind::kExpert) return kNoExperts;
    if (tensor.kind != SubjectKind::kStack) return "";
    const int bits = StoredBits(parameters.spec.bits);
    if (tensor.k * bits % 8 != 0) {
      return std::to_string(tensor.k) + " weights of " + std::to_string(bits) +
             " bits do not fill bytes, as rows that are gathered must";
    }
    if (!tensor.swapped || tensor.opset >= kEinsumOpset) return "";
    return "it picks from a stack of matrices, for which the model's opset " +
           std::to_string(tensor.opset) + " is too old (" + std::to_string(kEinsumOpset) +
           " has Einsum)";
  }

  // The same codes, all experts of a mixture in one operator, which takes a tenth of the time that
  // gathered matrices take.
  [[nodiscard]] std::span<const std::string_view> Fallbacks() const override {
    static constexpr std::string_view kForms[] = {"qmoe"};
    return kForms;
  }
  [[nodiscard]] std::string_view ForMixtures() const override { return Fallbacks().front(); }

  [[nodiscard]] int64_t Bytes(const TensorFacts& tensor,
                              const FormParameters& parameters) const override {
    const QuantSpec spec = AsStored(parameters.spec);
    const bool padded = tensor.kind != SubjectKind::kStack;
    return tensor.n *
           (CodeBytes(spec, tensor.k, padded) + GridBytes(spec, tensor.k, tensor.compute));
  }

  [[nodiscard]] bool HasAccuracyLevels() const override { return true; }

  [[nodiscard]] int64_t RoundedBlock(const FormParameters& parameters, int64_t k) const override {
    const QuantSpec spec = AsStored(parameters.spec);
    const int64_t block = BlocksOf(spec, k).size;
    const bool rounds = parameters.FirstLevel() == kRoundedLevel;
    return rounds && RoundsInBlocks(spec.bits, block) ? block : 0;
  }

  // The operator needs its own domain only: the opset of the other nodes stays as it is.
  void PrepareModel(onnx::ModelProto& model, std::span<const QuantSpec>) const override {
    RaiseOpset(model, kBlocksDomain, 1);
  }

  [[nodiscard]] std::vector<onnx::NodeProto> Emit(const LinearToEmit& linear,
                                                  TensorSink& sink) const override {
    const QuantizedMatrix& q = *linear.q;
    CheckSpec(q.spec);
    const Blocks blocks = BlocksOf(q.spec, q.k);
    const Shape codes{q.n, blocks.count, PackedBytes(blocks.size, q.spec.bits)};
    return MatMulNBitsNodes(
        linear, Store(q, linear.name, codes, {q.n}, ComputeType(linear), /*padded=*/true, sink));
  }

  // GatherBlockQuantized: the table is [E, N / E, K · bits / 8] and is not padded.
  [[nodiscard]] std::vector<onnx::NodeProto> EmitStack(const StackToEmit& stack,
                                                       TensorSink& sink) const override {
    const QuantizedMatrix& q = *stack.q;
    CheckSpec(q.spec);
    const Shape rows{stack.experts, q.n / stack.experts};
    const Shape codes{rows[0], rows[1], q.k * q.spec.bits / 8};
    const StoredBlocks weight =
        Store(q, stack.name, codes, rows, GatheredType(stack), /*padded=*/false, sink);
    return WithConversion(
        stack, {GatherBlocksNode(stack.node_name, weight, stack.indices, 2, GatheredName(stack))});
  }

 private:
  /// Hands codes of a shape over, and scales and zero points of `rows` and what belongs to one.
  static StoredBlocks Store(const QuantizedMatrix& q, const std::string& name, const Shape& codes,
                            const Shape& rows, DType scale_type, bool padded, TensorSink& sink) {
    const Blocks blocks = BlocksOf(q.spec, q.k);
    const auto with = [&](int64_t last) {
      Shape shape(rows.size() + 1, last);
      std::ranges::copy(rows, shape.begin());
      return shape;
    };
    StoredBlocks weight{q.spec, q.n, q.k, "", "", ""};
    weight.codes = sink.AddPacked(name + ".weight_q" + std::to_string(q.spec.bits), DType::kUint8,
                                  codes, [&] { return PackCodes(q, blocks, padded); });
    weight.scales = AddFloats(sink, name + ".weight_scales", scale_type, with(blocks.count),
                              [&] { return ScalesOf(q, blocks); });
    if (q.spec.symmetric) return weight;
    weight.zero_points = sink.AddPacked(name + ".weight_zero_points", DType::kUint8,
                                        with(PackedBytes(blocks.count, q.spec.bits)),
                                        [&] { return PackZeroPoints(q, blocks); });
    return weight;
  }
};

}  // namespace

std::vector<onnx::NodeProto> MatMulNBitsNodes(const LinearToEmit& linear,
                                              const StoredBlocks& weight) {
  const CastedNames names = InnerNames(linear);
  auto node = MakeNode("MatMulNBits", linear.node_name, {names.input, weight.codes, weight.scales},
                       names.output);
  node.set_domain(kBlocksDomain);
  if (!weight.zero_points.empty()) node.add_input(weight.zero_points);
  if (!names.bias.empty()) {
    while (node.input_size() < 5) node.add_input("");
    node.add_input(names.bias);
  }
  SetInt(node, "K", weight.k);
  SetInt(node, "N", weight.n);
  SetInt(node, "bits", weight.spec.bits);
  SetInt(node, "block_size", BlocksOf(weight.spec, weight.k).size);
  SetInt(node, "accuracy_level", linear.accuracy_level);
  return WithCasts(linear, {std::move(node)});
}

const LinearForm& MatMulNBitsForm() {
  static const MatMulNBits format;
  return format;
}

}  // namespace ptq
