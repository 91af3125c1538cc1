// Codes in blocks, as com.microsoft MatMulNBits and GatherBlockQuantized read them: how a row is
// cut, and how codes, scales and zero points are packed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/emit/linear_form.h"
#include "ptq/quant/spec.h"

namespace ptq {

/// The domain of both operators.
inline constexpr char kBlocksDomain[] = "com.microsoft";

/// How one weight is laid out in blocks.
struct Blocks {
  int64_t size;   ///< elements of K in a block
  int64_t count;  ///< blocks a row
  bool repeated;  ///< the codes have one group a row, whose scale every block repeats
  [[nodiscard]] int64_t GroupOf(int64_t block) const { return repeated ? 0 : block; }
};

[[nodiscard]] Blocks BlocksOf(const QuantSpec& spec, int64_t k);

/// Throws UsageError for bits or groups that the operators do not have.
void CheckBlocks(const std::string& operator_name, const QuantSpec& spec);

/// Bytes of a row's codes: of K weights, or of whole blocks when `padded`.
[[nodiscard]] int64_t CodeBytes(const QuantSpec& spec, int64_t k, bool padded);
/// Bytes of a row's scales, of the type in which a graph of `compute` has them, and zero points.
[[nodiscard]] int64_t GridBytes(const QuantSpec& spec, int64_t k, DType compute);

/// [N, CodeBytes]; what pads the last block is its zero point and so dequantizes to 0. Rows that
/// are not padded fill their bytes.
[[nodiscard]] std::vector<std::byte> PackCodes(const QuantizedMatrix& q, const Blocks& blocks,
                                               bool padded);
/// [N, ceil(count · bits / 8)], each row starting on a byte.
[[nodiscard]] std::vector<std::byte> PackZeroPoints(const QuantizedMatrix& q, const Blocks& blocks);
/// [N, count]
[[nodiscard]] std::vector<float> ScalesOf(const QuantizedMatrix& q, const Blocks& blocks);

/// The tensors of a weight W[N, K], by the names that the graph knows.
struct StoredBlocks {
  QuantSpec spec;
  int64_t n = 0;
  int64_t k = 0;
  std::string codes;
  std::string scales;
  std::string zero_points;  ///< empty when symmetric: absent means 2^(bits-1)
};

/// A MatMulNBits, with what stands around it, on codes [N, count, size · bits / 8].
[[nodiscard]] std::vector<onnx::NodeProto> MatMulNBitsNodes(const LinearToEmit& linear,
                                                            const StoredBlocks& weight);
/// Rows, or matrices, of what is stored; the last of its dimensions, number `quantize_axis`, is K.
[[nodiscard]] onnx::NodeProto GatherBlocksNode(const std::string& name, const StoredBlocks& weight,
                                               const std::string& indices, int64_t quantize_axis,
                                               const std::string& output);

}  // namespace ptq
