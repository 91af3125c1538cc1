// com.microsoft MatMulNBits: Y = A · dequantize(B)ᵀ + bias with w = (code − zero point) · scale.
// Layout and limits: ONNX Runtime's operator schema, checked against ONNX Runtime 1.31.

#include <algorithm>
#include <string>
#include <vector>

#include "bit_packing.h"
#include "format_nodes.h"
#include "formats.h"

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"

namespace ptq {
namespace {

constexpr char kDomain[] = "com.microsoft";
constexpr int64_t kSmallestBlock = 16;
constexpr int64_t kLargestBlock = 256;
/// Rows that one task packs.
constexpr int64_t kRowTile = 256;

/// The operator has no form with one scale a row. With the scale repeated, blocks of 128 are the
/// fastest that have an int8 kernel at every bit width (2 bits have none at 16 and 256); larger
/// ones would also coarsen the runtime's own per-block quantization of the activations.
constexpr int64_t kChannelBlock = 128;

/// No larger than a short row needs: padding costs as much as weights do.
int64_t ChannelBlockFor(int64_t k) {
  int64_t block = 32;
  while (block < k && block < kChannelBlock) block *= 2;
  return block;
}

bool IsPowerOfTwo(int64_t value) { return value > 0 && (value & (value - 1)) == 0; }

/// How one weight is laid out in blocks.
struct Blocks {
  int64_t size;   ///< elements of K in a block
  int64_t count;  ///< blocks a row
  bool repeated;  ///< the codes have one group a row, whose scale every block repeats
  [[nodiscard]] int64_t GroupOf(int64_t block) const { return repeated ? 0 : block; }
};

Blocks BlocksOf(const QuantizedMatrix& q) {
  Blocks blocks{};
  blocks.repeated = q.spec.group_size == 0;
  blocks.size = blocks.repeated ? ChannelBlockFor(q.k) : q.spec.group_size;
  blocks.count = (q.k + blocks.size - 1) / blocks.size;
  return blocks;
}

/// [N, count, size · bits / 8]; the padding of the last block is its zero point and so dequantizes
/// to 0.
std::vector<std::byte> PackWeight(const QuantizedMatrix& q, const Blocks& blocks) {
  const int64_t blob = PackedBytes(blocks.size, q.spec.bits);
  const int64_t groups = q.spec.GroupsFor(q.k);
  std::vector<std::byte> packed(static_cast<size_t>(q.n * blocks.count * blob));
  ParallelForTiles(q.n, kRowTile, [&](int64_t first, int64_t last) {
    std::vector<uint8_t> padded(static_cast<size_t>(blocks.size));
    for (int64_t row = first; row < last; ++row) {
      for (int64_t block = 0; block < blocks.count; ++block) {
        const int64_t begin = block * blocks.size;
        const int64_t length = std::min(blocks.size, q.k - begin);
        std::byte* to = packed.data() + (row * blocks.count + block) * blob;
        const uint8_t* codes = q.codes.data() + row * q.k + begin;
        if (length == blocks.size) {
          PackBits({codes, static_cast<size_t>(length)}, q.spec.bits, to);
          continue;
        }
        std::copy_n(codes, length, padded.begin());
        std::fill(padded.begin() + length, padded.end(),
                  q.zero_points[static_cast<size_t>(row * groups + blocks.GroupOf(block))]);
        PackBits(padded, q.spec.bits, to);
      }
    }
  });
  return packed;
}

/// [N, ceil(count · bits / 8)], each row starting on a byte.
std::vector<std::byte> PackZeroPoints(const QuantizedMatrix& q, const Blocks& blocks) {
  const int64_t row_bytes = PackedBytes(blocks.count, q.spec.bits);
  const int64_t groups = q.spec.GroupsFor(q.k);
  std::vector<std::byte> packed(static_cast<size_t>(q.n * row_bytes));
  std::vector<uint8_t> row_codes(static_cast<size_t>(blocks.count));
  for (int64_t row = 0; row < q.n; ++row) {
    for (int64_t block = 0; block < blocks.count; ++block) {
      row_codes[static_cast<size_t>(block)] =
          q.zero_points[static_cast<size_t>(row * groups + blocks.GroupOf(block))];
    }
    PackBits(row_codes, q.spec.bits, packed.data() + row * row_bytes);
  }
  return packed;
}

std::vector<float> ScalesOf(const QuantizedMatrix& q, const Blocks& blocks) {
  if (!blocks.repeated) return q.scales;
  std::vector<float> scales;
  scales.reserve(static_cast<size_t>(q.n * blocks.count));
  for (const float scale : q.scales) scales.insert(scales.end(), size_t(blocks.count), scale);
  return scales;
}

class MatMulNBits : public LinearFormat {
 public:
  [[nodiscard]] std::string_view name() const override { return "matmulnbits"; }

  void CheckSpec(const QuantSpec& spec) const override {
    if (spec.bits != 2 && spec.bits != 4 && spec.bits != 8) {
      throw UsageError("MatMulNBits holds 2, 4 or 8 bits, not " + std::to_string(spec.bits));
    }
    const int64_t size = spec.group_size;
    if (size == 0) return;
    if (!IsPowerOfTwo(size) || size < kSmallestBlock || size > kLargestBlock) {
      throw UsageError("MatMulNBits holds groups of 16, 32, 64, 128 or 256 (or 'channel'), not " +
                       std::to_string(size) +
                       "; several ONNX Runtime releases compute garbage for larger ones");
    }
  }

  [[nodiscard]] QuantSpec Adapt(const QuantSpec& spec) const override {
    QuantSpec stored = spec;
    if (stored.group_size == 0) stored.group_size = kChannelBlock;
    return stored;
  }

  // The operator needs its own domain only: the opset of the other nodes stays as it is.
  void PrepareModel(onnx::ModelProto& model, std::span<const QuantSpec>) const override {
    RaiseOpset(model, kDomain, 1);
  }

  [[nodiscard]] std::vector<onnx::NodeProto> Emit(const LinearToEmit& linear,
                                                  TensorSink& sink) const override {
    const QuantizedMatrix& q = *linear.q;
    CheckSpec(q.spec);
    const Blocks blocks = BlocksOf(q);
    const std::string weight_name = linear.name + ".weight_q" + std::to_string(q.spec.bits);
    const CastedNames names = InnerNames(linear);
    const std::string weight =
        AddBytes(sink, weight_name, DType::kUint8,
                 {q.n, blocks.count, PackedBytes(blocks.size, q.spec.bits)}, PackWeight(q, blocks));
    const std::string scales = AddFloats(sink, linear.name + ".weight_scales", ComputeType(linear),
                                         {q.n, blocks.count}, ScalesOf(q, blocks));
    auto node =
        MakeNode("MatMulNBits", linear.node_name, {names.input, weight, scales}, names.output);
    node.set_domain(kDomain);
    if (!q.spec.symmetric) {  // absent means 2^(bits-1), the symmetric zero point
      node.add_input(AddBytes(sink, linear.name + ".weight_zero_points", DType::kUint8,
                              {q.n, PackedBytes(blocks.count, q.spec.bits)},
                              PackZeroPoints(q, blocks)));
    }
    if (!names.bias.empty()) {
      while (node.input_size() < 5) node.add_input("");
      node.add_input(names.bias);
    }
    SetInt(node, "K", q.k);
    SetInt(node, "N", q.n);
    SetInt(node, "bits", q.spec.bits);
    SetInt(node, "block_size", blocks.size);
    SetInt(node, "accuracy_level", linear.accuracy_level);
    return WithCasts(linear, {std::move(node)});
  }

  // GatherBlockQuantized: the table is [E, N / E, K · bits / 8] and is not padded.
  [[nodiscard]] std::vector<onnx::NodeProto> EmitStack(const StackToEmit& stack,
                                                       TensorSink& sink) const override {
    const QuantizedMatrix& q = *stack.q;
    CheckSpec(q.spec);
    if (q.k * q.spec.bits % 8 != 0) {
      throw UnsupportedError("'" + stack.name + "': " + std::to_string(q.k) + " weights of " +
                             std::to_string(q.spec.bits) +
                             " bits do not fill bytes; exclude it or use --format qdq");
    }
    const Blocks blocks = BlocksOf(q);
    const int64_t rows = q.n / stack.experts;
    const DType type = GatheredType(stack);
    std::vector<std::byte> packed(static_cast<size_t>(q.n * q.k * q.spec.bits / 8));
    PackBits(q.codes, q.spec.bits, packed.data());
    std::vector<std::string> inputs = {
        AddBytes(sink, stack.name + ".weight_q" + std::to_string(q.spec.bits), DType::kUint8,
                 {stack.experts, rows, q.k * q.spec.bits / 8}, packed),
        stack.indices,
        AddFloats(sink, stack.name + ".weight_scales", type, {stack.experts, rows, blocks.count},
                  ScalesOf(q, blocks))};
    if (!q.spec.symmetric) {
      inputs.push_back(AddBytes(sink, stack.name + ".weight_zero_points", DType::kUint8,
                                {stack.experts, rows, PackedBytes(blocks.count, q.spec.bits)},
                                PackZeroPoints(q, blocks)));
    }
    auto node = MakeNode("GatherBlockQuantized", stack.node_name, inputs, GatheredName(stack));
    node.set_domain(kDomain);
    SetInt(node, "gather_axis", 0);
    SetInt(node, "quantize_axis", 2);
    SetInt(node, "block_size", blocks.size);
    SetInt(node, "bits", q.spec.bits);
    return WithConversion(stack, {std::move(node)});
  }
};

}  // namespace

const LinearFormat& MatMulNBitsFormat() {
  static const MatMulNBits format;
  return format;
}

}  // namespace ptq
