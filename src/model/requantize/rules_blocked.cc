// Rules of ONNX Runtime's operators on blocks of codes (ContribOperators.md).
#include <string>
#include <utility>
#include <vector>

#include "dequantize_rule.h"

#include "ptq/base/error.h"
#include "ptq/model/node_builder.h"
#include "ptq/tensor/packed_integers.h"

namespace ptq::dequantize {
namespace {

DType CodeType(const Node& node, int64_t bits) {
  if (bits == 2) return DType::kUint2;
  if (bits == 4) return DType::kUint4;
  if (bits == 8) return DType::kUint8;
  throw UnsupportedError("node '" + node.name() + "': weights of " + std::to_string(bits) +
                         " bits cannot be dequantized; 2, 4 and 8 are supported");
}

/// Codes packed along the last dimension, scales in blocks along an axis.
std::string AddPacked(const Rule& rule, const Stored& codes, const Stored& scales,
                      const Stored& zeros, int64_t bits, int64_t axis, int64_t block) {
  QuantizedWeight weight;
  weight.codes = codes;
  weight.scales = scales;
  weight.zeros = zeros;
  weight.shape = ShapeOf(*codes);
  weight.dtype = TypeOf(*scales);
  weight.code_type = TypeOf(*codes);
  if (TypeOf(*codes) == DType::kUint8) {
    weight.code_type = CodeType(rule.node, bits);
    weight.shape.back() *= 8 / bits;
    weight.zero_row = scales->dims().empty() ? 1 : scales->dims(scales->dims_size() - 1);
    weight.default_zero = static_cast<float>(1 << (bits - 1));
  }
  weight.row_codes = weight.shape.back();
  weight.axis = axis;
  weight.block = block > 0 ? block : weight.shape.back();
  return rule.to.AddWeight(std::move(weight));
}

/// Whether the mixing weights of a QMoE are those that MoE has by default: the softmax over the
/// logits of all experts, not normalized again.
bool MixesBySoftmax(const Rule& rule) {
  const onnx::NodeProto* const softmax = rule.to.Producer(rule.in(14), "Softmax");
  return softmax != nullptr && softmax->input(0) == rule.in(1) &&
         rule.node.Int("normalize_routing_weights", 0) == 0;
}

}  // namespace

bool MatMulNBits(const Rule& rule) {
  const Stored codes = rule.constant(1);
  const Stored scales = rule.constant(2);
  if (codes == nullptr || scales == nullptr) return false;
  const int64_t bits = rule.node.Int("bits", 4);
  rule.to.Found(rule.node, codes, static_cast<int>(bits));
  if (!rule.to.changes()) return false;
  if (rule.node.Int("weight_prepacked", 0) != 0) return false;
  const int64_t n = rule.node.RequiredInt("N");
  const int64_t k = rule.node.RequiredInt("K");
  const int64_t block = rule.node.RequiredInt("block_size");
  if (n <= 0 || k <= 0 || block <= 0) {
    throw InputError("node '" + rule.node.name() + "': K, N and block_size must be positive");
  }
  const int64_t blocks = (k + block - 1) / block;
  QuantizedWeight weight;
  weight.codes = codes;
  weight.scales = scales;
  weight.zeros = rule.constant(3);
  weight.groups = rule.constant(4);
  weight.shape = {n, k};
  weight.dtype = TypeOf(*scales);
  weight.code_type = CodeType(rule.node, bits);
  weight.row_codes = blocks * block;
  weight.axis = 1;
  weight.block = block;
  weight.zero_row = blocks;
  weight.default_zero = static_cast<float>(1 << (bits - 1));
  const std::string transposed = rule.Fresh("weight");
  rule.to.Emit("Transpose", rule.name() + "/transpose", {rule.to.AddWeight(std::move(weight))},
               transposed);
  rule.EmitProduct(rule.in(0), transposed, rule.in(5));
  return true;
}

bool MatMulBnb4(const Rule& rule) {
  const Stored codes = rule.constant(1);
  const Stored scales = rule.constant(2);
  if (codes == nullptr || scales == nullptr) return false;
  rule.to.Found(rule.node, codes, 4);
  if (!rule.to.changes()) return false;
  QuantizedWeight weight;
  weight.codes = codes;
  weight.scales = scales;
  weight.shape = {rule.node.RequiredInt("N"), rule.node.RequiredInt("K")};
  weight.dtype = TypeOf(*scales);
  weight.block = rule.node.RequiredInt("block_size");
  weight.codebook = FloatCodebook(static_cast<int>(rule.node.Int("quant_type", 1))).data();
  if (weight.shape[0] <= 0 || weight.shape[1] <= 0 || weight.block <= 0) {
    throw InputError("node '" + rule.node.name() + "': K, N and block_size must be positive");
  }
  std::string operand = rule.to.AddWeight(std::move(weight));
  if (rule.node.Int("transB", 1) != 0) {
    const std::string stored = std::exchange(operand, rule.Fresh("weight"));
    rule.to.Emit("Transpose", rule.name() + "/transpose", {stored}, operand);
  }
  rule.EmitProduct(rule.in(0), operand, "");
  return true;
}

bool GatherBlockQuantized(const Rule& rule) {
  const Stored codes = rule.constant(0);
  const Stored scales = rule.constant(2);
  if (codes == nullptr || scales == nullptr || codes->dims().empty()) return false;
  const bool bytes = TypeOf(*codes) == DType::kUint8;
  const int64_t bits = bytes ? rule.node.Int("bits", 4) : BitsOf(TypeOf(*codes));
  rule.to.Found(rule.node, codes, static_cast<int>(bits));
  if (!rule.to.changes()) return false;
  const std::string table =
      AddPacked(rule, codes, scales, rule.constant(3), bits, rule.node.Int("quantize_axis", 1),
                rule.node.Int("block_size", 128));
  auto& gather = rule.to.Emit("Gather", rule.name(), {table, rule.in(1)}, rule.output());
  SetInt(gather, "axis", rule.node.Int("gather_axis", 0));
  return true;
}

bool QMoE(const Rule& rule) {
  const Stored first = rule.constant(2);
  if (first == nullptr || rule.constant(3) == nullptr) return false;
  const int64_t bits = rule.node.Int("expert_weight_bits", 4);
  rule.to.Found(rule.node, first, static_cast<int>(bits));
  if (!rule.to.changes()) return false;
  const bool mixes = rule.node.has_input(14);
  if (mixes && !MixesBySoftmax(rule)) return false;  // MoE takes no other mixing weights
  std::vector<std::string> inputs = {rule.in(0), rule.in(1)};
  for (int i = 0; i < 3; ++i) {
    const int at = 2 + 3 * i;
    const Stored codes = rule.constant(at);
    const Stored scales = rule.constant(at + 1);
    if (codes == nullptr) break;
    if (scales == nullptr || codes->dims_size() != 3) return false;
    const int64_t own = rule.node.Int("fc" + std::to_string(i + 1) + "_expert_weight_bits", bits);
    inputs.push_back(AddPacked(rule, codes, scales, rule.constant(11 + i), own, 2,
                               rule.node.Int("block_size", 0)));
    inputs.push_back(rule.in(at + 2));
    rule.to.Retire(rule.in(at));
  }
  while (inputs.back().empty()) inputs.pop_back();
  auto& moe = rule.to.Emit("MoE", rule.name(), inputs, rule.output(), kMicrosoft);
  rule.CopyAttributes(moe, {"k", "activation_type", "swiglu_fusion", "swiglu_limit",
                            "activation_alpha", "activation_beta", "use_sparse_mixer"});
  if (mixes) rule.to.Retire(rule.in(14));
  SetInt(moe, "normalize_routing_weights", mixes ? 0 : 1);  // without these QMoE always does
  return true;
}

}  // namespace ptq::dequantize
