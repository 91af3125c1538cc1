// com.microsoft MatMulBnb4: Y = A · Wᵀ with weights in bitsandbytes' 4-bit formats, NF4 and FP4.
// Blocks run over the flattened weight. Layout and limits: ONNX Runtime's operator schema, checked
// against ONNX Runtime 1.32.

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "bit_packing.h"
#include "form_nodes.h"
#include "forms.h"
#include "nbits_blocks.h"

#include "ptq/base/error.h"
#include "ptq/tensor/packed_integers.h"

namespace ptq {
namespace {

/// The operator's attribute quant_type.
enum class Bnb4Type { kFp4 = 0, kNf4 = 1 };

/// Two codes a byte, the first in its upper half; the last may be alone.
std::vector<std::byte> PackPairs(const QuantizedMatrix& q, Bnb4Type type) {
  // The file's codes do not count levels upwards.
  const std::span<const float, 16> values = FloatCodebook(int(type));
  std::array<uint8_t, Levels::kMost> stored{};
  for (int code = 0; code < q.spec.levels(); ++code) {
    stored[size_t(code)] =
        uint8_t(std::ranges::find(values, q.spec.codebook->value(code)) - values.begin());
  }
  std::vector<std::byte> packed((q.codes.size() + 1) / 2);
  for (size_t i = 0; i < q.codes.size(); ++i) {
    packed[i / 2] |= std::byte(stored[q.codes[i]] << (i % 2 == 0 ? 4 : 0));
  }
  return packed;
}

class Bnb4 : public LinearForm {
 public:
  Bnb4(Bnb4Type type, const Levels& levels) : type_(type), levels_(levels) {}

  [[nodiscard]] std::string_view name() const override { return levels_.name(); }
  [[nodiscard]] const Levels* codebook() const override { return &levels_; }
  [[nodiscard]] const TableForm& tables() const override { return GatherBlocksForm(); }

  void CheckSpec(const QuantSpec& spec) const override {
    if (spec.bits != 4) {
      throw UsageError("codes of " + std::string(name()) + " have 4 bits, not " +
                       std::to_string(spec.bits) + " (matmulnbits has other widths)");
    }
    if (!spec.symmetric) {
      throw UsageError(std::string(name()) + " has no zero points (matmulnbits has)");
    }
    if (spec.group_size == 0) {
      throw UsageError("MatMulBnb4 holds groups of 16, 32, 64, 128 or 256, not whole rows");
    }
    CheckBlocks("MatMulBnb4", spec);
  }

  [[nodiscard]] std::string Refusal(const TensorFacts& tensor,
                                    const FormParameters& parameters) const override {
    const QuantSpec& spec = parameters.spec;
    if (tensor.kind != SubjectKind::kLinear) return "MatMulBnb4 multiplies with one matrix";
    if (spec.codebook != &levels_) return "its codes count evenly spaced levels";
    if (spec.bits != 4 || !spec.symmetric) {
      return "codes of " + std::string(name()) + " have 4 bits and no zero points";
    }
    if (spec.group_size > 0 && tensor.k % spec.group_size == 0) return "";
    return "the blocks of MatMulBnb4 run over the ends of rows of " + std::to_string(tensor.k) +
           " weights";
  }

  // The same bits and groups, of uniform levels.
  [[nodiscard]] std::span<const std::string_view> Fallbacks() const override {
    static constexpr std::string_view kForms[] = {"matmulnbits", "qmoe"};
    return kForms;
  }

  [[nodiscard]] int64_t Bytes(const TensorFacts& tensor,
                              const FormParameters& parameters) const override {
    const int64_t groups = tensor.n * parameters.spec.GroupsFor(tensor.k);
    return PackedBytes(tensor.n * tensor.k, 4) + BytesOf(ScaleTypeFor(tensor.compute), groups);
  }

  void PrepareModel(onnx::ModelProto& model, std::span<const QuantSpec>) const override {
    RaiseOpset(model, kBlocksDomain, 1);
  }

  // The operator takes no bias.
  [[nodiscard]] std::vector<onnx::NodeProto> Emit(const LinearToEmit& linear,
                                                  TensorSink& sink) const override {
    const QuantizedMatrix& q = *linear.q;
    CheckSpec(q.spec);
    const CastedNames names = InnerNames(linear);
    const std::string codes =
        sink.AddPacked(linear.name + ".weight_q4", DType::kUint8,
                       {PackedBytes(q.n * q.k, q.spec.bits)}, [&] { return PackPairs(q, type_); });
    const std::string scales = AddFloats(sink, linear.name + ".weight_scales", ComputeType(linear),
                                         {q.n * q.spec.GroupsFor(q.k)}, [&] { return q.scales; });
    const std::string product = names.bias.empty() ? names.output : linear.output + "_without_bias";
    auto node = MakeNode("MatMulBnb4", linear.node_name, {names.input, codes, scales}, product);
    node.set_domain(kBlocksDomain);
    SetInt(node, "K", q.k);
    SetInt(node, "N", q.n);
    SetInt(node, "block_size", q.spec.group_size);
    SetInt(node, "quant_type", int64_t(type_));
    std::vector<onnx::NodeProto> nodes = {std::move(node)};
    if (!names.bias.empty()) {
      nodes.push_back(
          MakeNode("Add", linear.node_name + "/bias", {product, names.bias}, names.output));
    }
    return WithCasts(linear, std::move(nodes));
  }

  [[nodiscard]] std::vector<onnx::NodeProto> EmitStack(const StackToEmit& stack,
                                                       TensorSink& /*sink*/) const override {
    throw InternalError("'" + stack.name + "': MatMulBnb4 has no stacks");
  }

 private:
  const Bnb4Type type_;
  const Levels& levels_;
};

}  // namespace

const LinearForm& Nf4Form() {
  static const Bnb4 form(Bnb4Type::kNf4, Nf4Levels());
  return form;
}

const LinearForm& Fp4Form() {
  static const Bnb4 form(Bnb4Type::kFp4, Fp4Levels());
  return form;
}

}  // namespace ptq
