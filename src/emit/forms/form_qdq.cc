// DequantizeLinear in front of MatMul: the standard's own form of a weight-only quantized linear.
// ONNX operators DequantizeLinear-21 (blocked, INT4/UINT4) and -25 (INT2/UINT2). ONNX Runtime fuses
// it into MatMulNBits for a [K, N] weight, axis 0, one DequantizeLinear for each MatMul, whose
// tensors no other one reads.

#include <algorithm>
#include <array>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "bit_packing.h"
#include "form_nodes.h"
#include "forms.h"
#include "integer_product.h"

#include "ptq/base/error.h"
#include "ptq/emit/stored_codes.h"
#include "ptq/transform/opset_upgrade.h"
#include "ptq/transform/tensor_store.h"

namespace ptq {
namespace {

/// Lets nothing else read a tensor: ONNX Runtime does not fuse a DequantizeLinear otherwise.
class AloneSink : public TensorSink {
 public:
  AloneSink(TensorSink& sink, const LinearToEmit& linear) : sink_(sink), linear_(linear) {}
  std::string Add(const std::string& name, DType dtype, const Shape& shape,
                  std::span<const std::byte> bytes) override {
    return AddPacked(name, dtype, shape,
                     [&] { return std::vector<std::byte>(bytes.begin(), bytes.end()); });
  }
  std::string AddPacked(const std::string& name, DType dtype, const Shape& shape,
                        const Pack& pack) override {
    const std::string& own = linear_.own_name.empty() ? linear_.name : linear_.own_name;
    return sink_.AddAlone(own + name.substr(linear_.name.size()), dtype, shape, pack, name);
  }

 private:
  TensorSink& sink_;
  const LinearToEmit& linear_;
};

class Qdq : public LinearForm {
 public:
  [[nodiscard]] std::string_view name() const override { return "qdq"; }
  [[nodiscard]] const TableForm& tables() const override { return GatherRowsForm(); }

  [[nodiscard]] Activations activations(const FormParameters& parameters) const override {
    return parameters.activations;
  }

  void CheckSpec(const QuantSpec& spec) const override {
    if (spec.bits != 2 && spec.bits != 4 && spec.bits != 8) {
      throw UsageError("DequantizeLinear holds 2, 4 or 8 bits, not " + std::to_string(spec.bits));
    }
    const int64_t size = spec.group_size;
    const bool fused =
        size == 0 || size == 16 || size == 32 || size == 64 || size == 128 || size == 256;
    if (!fused) {
      throw UsageError(
          "the runtime is fast for groups of 16, 32, 64, 128 or 256 (or 'channel'), "
          "not " +
          std::to_string(size) + ", which it would expand at every run");
    }
  }

  [[nodiscard]] std::string Refusal(const TensorFacts& tensor,
                                    const FormParameters& parameters) const override {
    if (tensor.kind == SubjectKind::kExpert) return kNoExperts;
    if (parameters.activations == Activations::kStatic) {
      if (tensor.kind == SubjectKind::kStack) return "its activations are those of no one matrix";
      if (AsStored(parameters.spec).bits != 8 || parameters.spec.group_size != 0) {
        return "products of integers have codes of 8 bits with one scale a row";
      }
    }
    // ONNX Runtime fuses such a weight into a product with wrong results, without a word: four
    // 2-bit codes share a byte, and its rows of N codes then do not start on one.
    if (parameters.spec.bits != 2 || tensor.n % 4 == 0) return "";
    return "ONNX Runtime computes 2-bit QDQ weights wrongly unless the " +
           std::to_string(tensor.n) + " output features were a multiple of 4";
  }

  // The same codes, in an operator that only ONNX Runtime has.
  [[nodiscard]] std::span<const std::string_view> Fallbacks() const override {
    static constexpr std::string_view kForms[] = {"matmulnbits", "qmoe"};
    return kForms;
  }

  [[nodiscard]] int64_t Bytes(const TensorFacts& tensor,
                              const FormParameters& parameters) const override {
    const auto parts = PartBytes(tensor, parameters);
    return std::accumulate(parts.begin(), parts.end(), int64_t{0});
  }

  // Each product has tensors of its own, and those within the model file their own bytes.
  [[nodiscard]] int64_t BytesAgain(const TensorFacts& tensor,
                                   const FormParameters& parameters) const override {
    int64_t bytes = 0;
    if (tensor.kind == SubjectKind::kStack) return bytes;
    for (const int64_t part : PartBytes(tensor, parameters)) {
      if (part < kSmallestExternal) bytes += part;
    }
    return bytes;
  }

  void PrepareModel(onnx::ModelProto& model, std::span<const QuantSpec> specs) const override {
    PrepareIntegers(model, specs);
  }

  [[nodiscard]] std::pair<int64_t, std::string> OpsetNeeded(
      std::span<const QuantSpec> /*specs*/) const override {
    return {kUpgradedOpset, "the QDQ format"};
  }

  [[nodiscard]] EmittedAddend EmitAddend(const LinearToEmit& linear, std::span<const float> addend,
                                         TensorSink& sink) const override {
    if (linear.activations != Activations::kStatic) return {};
    AloneSink alone(sink, linear);
    return IntegerAddend(linear, addend, alone);
  }

  [[nodiscard]] std::vector<onnx::NodeProto> Emit(const LinearToEmit& linear,
                                                  TensorSink& sink) const override {
    const QuantizedMatrix& q = *linear.q;
    CheckSpec(q.spec);
    if (linear.activations == Activations::kStatic) {
      AloneSink alone(sink, linear);
      return IntegerProduct(linear, alone);
    }
    const int64_t groups = q.spec.GroupsFor(q.k);
    // A block larger than K would say the same, but OpenVINO reads whole blocks only.
    const bool channel = groups == 1;
    const DType type = IntegerType(q.spec);
    const Shape scale_shape = channel ? Shape{q.n} : Shape{groups, q.n};
    const CastedNames names = InnerNames(linear);
    AloneSink alone(sink, linear);
    std::vector<std::string> inputs = {
        alone.AddPacked(linear.name + ".weight_q" + std::to_string(q.spec.bits), type, {q.k, q.n},
                        [&] { return PackIntegers(Transposed(q.codes, q.n, q.k), q.spec); }),
        AddFloats(alone, linear.name + ".weight_scales", ComputeType(linear), scale_shape,
                  [&] { return Transposed(q.scales, q.n, groups); })};
    if (!q.spec.symmetric) {
      inputs.push_back(alone.AddPacked(linear.name + ".weight_zero_points", type, scale_shape, [&] {
        return PackIntegers(Transposed(q.zero_points, q.n, groups), q.spec);
      }));
    }
    // Named after the linear's output, which is unique, because each consumer has its own.
    const std::string weight = linear.output + "_weight_dequantized";
    auto dequantize =
        MakeNode("DequantizeLinear", linear.node_name + "/dequantize", inputs, weight);
    SetInt(dequantize, "axis", channel ? 1 : 0);
    if (!channel) SetInt(dequantize, "block_size", q.spec.group_size);
    std::vector<onnx::NodeProto> nodes = {std::move(dequantize)};
    AddProduct(linear, names, weight, nodes);
    return WithCasts(linear, std::move(nodes));
  }

  [[nodiscard]] std::vector<onnx::NodeProto> EmitStack(const StackToEmit& stack,
                                                       TensorSink& sink) const override {
    const QuantizedMatrix& q = *stack.q;
    CheckSpec(q.spec);
    const int64_t rows = q.n / stack.experts;
    const int64_t groups = q.spec.GroupsFor(q.k);
    const DType type = IntegerType(q.spec);
    const Shape scale_shape{stack.experts, rows, groups};
    std::vector<std::string> inputs = {
        sink.AddPacked(stack.name + ".weight_q" + std::to_string(q.spec.bits), type,
                       {stack.experts, rows, q.k}, [&] { return PackIntegers(q.codes, q.spec); }),
        AddFloats(sink, stack.name + ".weight_scales", GatheredType(stack), scale_shape,
                  [&] { return q.scales; })};
    if (!q.spec.symmetric) {
      inputs.push_back(sink.AddPacked(stack.name + ".weight_zero_points", type, scale_shape,
                                      [&] { return PackIntegers(q.zero_points, q.spec); }));
    }
    const std::string weight = stack.output + "_weight_dequantized";
    auto dequantize = MakeNode("DequantizeLinear", stack.node_name + "/dequantize", inputs, weight);
    SetInt(dequantize, "axis", 2);
    SetInt(dequantize, "block_size", q.spec.group_size == 0 ? q.k : q.spec.group_size);
    return WithConversion(
        stack, {std::move(dequantize),
                MakeNode("Gather", stack.node_name, {weight, stack.indices}, GatheredName(stack))});
  }

 private:
  /// Of the codes, the scales, the zero points.
  static std::array<int64_t, 3> PartBytes(const TensorFacts& tensor,
                                          const FormParameters& parameters) {
    const QuantSpec spec = AsStored(parameters.spec);
    const int64_t groups = tensor.n * spec.GroupsFor(tensor.k);
    const bool integers = parameters.activations == Activations::kStatic;
    const DType scales = integers ? DType::kFloat32 : ScaleTypeFor(tensor.compute);
    return {PackedBytes(tensor.n * tensor.k, spec.bits), BytesOf(scales, groups),
            spec.symmetric && !integers ? 0 : PackedBytes(groups, spec.bits)};
  }
};

}  // namespace

const LinearForm& QdqForm() {
  static const Qdq format;
  return format;
}

}  // namespace ptq
