// DequantizeLinear in front of MatMul: the standard's own form of a weight-only quantized linear.
// ONNX operators DequantizeLinear-21 (blocked, INT4/UINT4) and -25 (INT2/UINT2). ONNX Runtime fuses
// it into MatMulNBits for a [K, N] weight, axis 0, one DequantizeLinear for each MatMul.

#include <algorithm>
#include <string>
#include <vector>

#include "bit_packing.h"
#include "format_nodes.h"
#include "formats.h"
#include "opset_upgrade.h"

#include "ptq/base/error.h"

namespace ptq {
namespace {

constexpr int64_t kTwoBitOpset = 25;
constexpr int64_t kIrVersion = 10;        // of 4-bit integers
constexpr int64_t kTwoBitIrVersion = 13;  // of 2-bit integers

DType CodeType(const QuantSpec& spec) {
  switch (spec.bits) {
    case 2: return spec.symmetric ? DType::kInt2 : DType::kUint2;
    case 4: return spec.symmetric ? DType::kInt4 : DType::kUint4;
    default: return spec.symmetric ? DType::kInt8 : DType::kUint8;
  }
}

/// Reads `values[N, columns]` as [columns, N].
template <class T>
std::vector<T> Transposed(const std::vector<T>& values, int64_t n, int64_t columns) {
  constexpr int64_t kTile = 64;
  std::vector<T> result(values.size());
  for (int64_t row0 = 0; row0 < n; row0 += kTile) {
    for (int64_t column = 0; column < columns; ++column) {
      for (int64_t row = row0; row < std::min(n, row0 + kTile); ++row) {
        result[static_cast<size_t>(column * n + row)] =
            values[static_cast<size_t>(row * columns + column)];
      }
    }
  }
  return result;
}

/// Elements packed flat in row-major order. Signed codes count from their middle: two's complement
/// of (code − 2^(bits−1)) is the code with its highest bit flipped.
std::vector<std::byte> Pack(std::vector<uint8_t> codes, const QuantSpec& spec) {
  if (spec.symmetric) {
    for (uint8_t& code : codes) code = static_cast<uint8_t>(code ^ spec.mid());
  }
  std::vector<std::byte> packed(
      static_cast<size_t>(PackedBytes(static_cast<int64_t>(codes.size()), spec.bits)));
  PackBits(codes, spec.bits, packed.data());
  return packed;
}

class Qdq : public LinearFormat {
 public:
  [[nodiscard]] std::string_view name() const override { return "qdq"; }

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

  // ONNX Runtime 1.31 fuses such a weight into a product with wrong results, without a word: four
  // 2-bit codes share a byte, and its rows of N codes then do not start on one.
  void CheckLinear(const Linear& linear) const override {
    if (linear.spec.bits != 2 || linear.n % 4 == 0) return;
    throw UnsupportedError("'" + linear.name + "' has " + std::to_string(linear.n) +
                           " output features; ONNX Runtime computes 2-bit QDQ weights wrongly "
                           "unless they are a multiple of 4; exclude it or use --format "
                           "matmulnbits");
  }

  void PrepareModel(onnx::ModelProto& model, std::span<const QuantSpec> specs) const override {
    const bool two_bits = std::ranges::any_of(specs, [](const auto& s) { return s.bits == 2; });
    if (two_bits && OpsetOf(model, "") < kTwoBitOpset) {
      throw UnsupportedError("2-bit integers in the QDQ format need a model of opset " +
                             std::to_string(kTwoBitOpset) + "; this one has opset " +
                             std::to_string(OpsetOf(model, "")) +
                             "; use --format matmulnbits or another number of bits");
    }
    UpgradeOpset(model, "the QDQ format");
    const int64_t needed = two_bits ? kTwoBitIrVersion : kIrVersion;
    if (model.ir_version() < needed) model.set_ir_version(needed);
  }

  [[nodiscard]] std::vector<onnx::NodeProto> Emit(const LinearToEmit& linear,
                                                  TensorSink& sink) const override {
    const QuantizedMatrix& q = *linear.q;
    CheckSpec(q.spec);
    const int64_t groups = q.spec.GroupsFor(q.k);
    // A block larger than K would say the same, but OpenVINO reads whole blocks only.
    const bool channel = groups == 1;
    const DType type = CodeType(q.spec);
    const Shape scale_shape = channel ? Shape{q.n} : Shape{groups, q.n};
    const CastedNames names = InnerNames(linear);
    std::vector<std::string> inputs = {
        AddBytes(sink, linear.name + ".weight_q" + std::to_string(q.spec.bits), type, {q.k, q.n},
                 Pack(Transposed(q.codes, q.n, q.k), q.spec)),
        AddFloats(sink, linear.name + ".weight_scales", ComputeType(linear), scale_shape,
                  Transposed(q.scales, q.n, groups))};
    if (!q.spec.symmetric) {
      inputs.push_back(AddBytes(sink, linear.name + ".weight_zero_points", type, scale_shape,
                                Pack(Transposed(q.zero_points, q.n, groups), q.spec)));
    }
    // Named after the linear's output, which is unique, because each consumer has its own.
    const std::string weight = linear.output + "_weight_dequantized";
    auto dequantize =
        MakeNode("DequantizeLinear", linear.node_name + "/dequantize", inputs, weight);
    SetInt(dequantize, "axis", channel ? 1 : 0);
    if (!channel) SetInt(dequantize, "block_size", q.spec.group_size);
    std::vector<onnx::NodeProto> nodes = {std::move(dequantize)};
    if (names.bias.empty()) {
      nodes.push_back(MakeNode("MatMul", linear.node_name, {names.input, weight}, names.output));
    } else {
      const std::string product = linear.output + "_without_bias";
      nodes.push_back(MakeNode("MatMul", linear.node_name, {names.input, weight}, product));
      nodes.push_back(
          MakeNode("Add", linear.node_name + "/bias", {product, names.bias}, names.output));
    }
    return WithCasts(linear, std::move(nodes));
  }

  [[nodiscard]] std::vector<onnx::NodeProto> EmitStack(const StackToEmit& stack,
                                                       TensorSink& sink) const override {
    const QuantizedMatrix& q = *stack.q;
    CheckSpec(q.spec);
    const int64_t rows = q.n / stack.experts;
    const int64_t groups = q.spec.GroupsFor(q.k);
    const DType type = CodeType(q.spec);
    const Shape scale_shape{stack.experts, rows, groups};
    std::vector<std::string> inputs = {
        AddBytes(sink, stack.name + ".weight_q" + std::to_string(q.spec.bits), type,
                 {stack.experts, rows, q.k}, Pack(q.codes, q.spec)),
        AddFloats(sink, stack.name + ".weight_scales", GatheredType(stack), scale_shape, q.scales)};
    if (!q.spec.symmetric) {
      inputs.push_back(AddBytes(sink, stack.name + ".weight_zero_points", type, scale_shape,
                                Pack(q.zero_points, q.spec)));
    }
    const std::string weight = stack.output + "_weight_dequantized";
    auto dequantize = MakeNode("DequantizeLinear", stack.node_name + "/dequantize", inputs, weight);
    SetInt(dequantize, "axis", 2);
    SetInt(dequantize, "block_size", q.spec.group_size == 0 ? q.k : q.spec.group_size);
    return WithConversion(
        stack, {std::move(dequantize),
                MakeNode("Gather", stack.node_name, {weight, stack.indices}, GatheredName(stack))});
  }
};

}  // namespace

const LinearFormat& QdqFormat() {
  static const Qdq format;
  return format;
}

}  // namespace ptq
