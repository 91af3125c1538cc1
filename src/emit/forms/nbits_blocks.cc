// Cuts rows into blocks and packs them; rows are independent of each other.
#include "nbits_blocks.h"

#include <algorithm>

#include "bit_packing.h"
#include "form_nodes.h"

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"

namespace ptq {
namespace {

constexpr int64_t kSmallestBlock = 16;
constexpr int64_t kLargestBlock = 256;
/// Rows that one task packs.
constexpr int64_t kRowTile = 256;

/// The operators have no form with one scale a row. With the scale repeated, blocks of 128 are the
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

}  // namespace

Blocks BlocksOf(const QuantSpec& spec, int64_t k) {
  Blocks blocks{};
  blocks.repeated = spec.group_size == 0;
  blocks.size = blocks.repeated ? ChannelBlockFor(k) : spec.group_size;
  blocks.count = (k + blocks.size - 1) / blocks.size;
  return blocks;
}

void CheckBlocks(const std::string& operator_name, const QuantSpec& spec) {
  if (spec.bits != 2 && spec.bits != 4 && spec.bits != 8) {
    throw UsageError(operator_name + " holds 2, 4 or 8 bits, not " + std::to_string(spec.bits));
  }
  const int64_t size = spec.group_size;
  if (size == 0) return;
  if (!IsPowerOfTwo(size) || size < kSmallestBlock || size > kLargestBlock) {
    throw UsageError(
        operator_name + " holds groups of 16, 32, 64, 128 or 256 (or 'channel'), not " +
        std::to_string(size) + "; several ONNX Runtime releases compute garbage for larger ones");
  }
}

int64_t CodeBytes(const QuantSpec& spec, int64_t k, bool padded) {
  const Blocks blocks = BlocksOf(spec, k);
  return padded ? blocks.count * PackedBytes(blocks.size, spec.bits) : PackedBytes(k, spec.bits);
}

int64_t GridBytes(const QuantSpec& spec, int64_t k, DType compute) {
  const int64_t count = BlocksOf(spec, k).count;
  return BytesOf(ScaleTypeFor(compute), count) +
         (spec.symmetric ? 0 : PackedBytes(count, spec.bits));
}

std::vector<std::byte> PackCodes(const QuantizedMatrix& q, const Blocks& blocks, bool padded) {
  const int64_t blob = PackedBytes(blocks.size, q.spec.bits);
  const int64_t row_bytes = CodeBytes(q.spec, q.k, padded);
  const int64_t groups = q.spec.GroupsFor(q.k);
  std::vector<std::byte> packed(static_cast<size_t>(q.n * row_bytes));
  ParallelForTiles(q.n, kRowTile, [&](int64_t first, int64_t last) {
    std::vector<uint8_t> filled(static_cast<size_t>(blocks.size));
    for (int64_t row = first; row < last; ++row) {
      const uint8_t* codes = q.codes.data() + row * q.k;
      std::byte* const to = packed.data() + row * row_bytes;
      if (!padded || q.k == blocks.count * blocks.size) {
        PackBits({codes, static_cast<size_t>(q.k)}, q.spec.bits, to);
        continue;
      }
      const int64_t whole = blocks.count - 1;
      const int64_t begin = whole * blocks.size;
      PackBits({codes, static_cast<size_t>(begin)}, q.spec.bits, to);
      std::copy_n(codes + begin, q.k - begin, filled.begin());
      std::fill(filled.begin() + (q.k - begin), filled.end(),
                q.zero_points[static_cast<size_t>(row * groups + blocks.GroupOf(whole))]);
      PackBits(filled, q.spec.bits, to + whole * blob);
    }
  });
  return packed;
}

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

onnx::NodeProto GatherBlocksNode(const std::string& name, const StoredBlocks& weight,
                                 const std::string& indices, int64_t quantize_axis,
                                 const std::string& output) {
  std::vector<std::string> inputs = {weight.codes, indices, weight.scales};
  if (!weight.zero_points.empty()) inputs.push_back(weight.zero_points);
  auto node = MakeNode("GatherBlockQuantized", name, inputs, output);
  node.set_domain(kBlocksDomain);
  SetInt(node, "gather_axis", 0);
  SetInt(node, "quantize_axis", quantize_axis);
  SetInt(node, "block_size", BlocksOf(weight.spec, weight.k).size);
  SetInt(node, "bits", weight.spec.bits);
  return node;
}

}  // namespace ptq
