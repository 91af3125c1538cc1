// The float form of every operator that takes quantized weights. Sources: the operators'
// specifications (ONNX, and ONNX Runtime's ContribOperators.md), and what ONNX Runtime's quantizers
// write.
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "dequantize_rewriter.h"

#include "ptq/base/error.h"
#include "ptq/tensor/packed_integers.h"

namespace ptq {
namespace {

using Stored = QuantizedWeight::Stored;
constexpr char kMicrosoft[] = "com.microsoft";

Shape ShapeOf(const onnx::TensorProto& tensor) {
  return {tensor.dims().begin(), tensor.dims().end()};
}
DType TypeOf(const onnx::TensorProto& tensor) { return static_cast<DType>(tensor.data_type()); }

/// One rule's view: the node, and what it finds and emits.
struct Rule {
  DequantizeRewriter& to;
  const Node& node;

  [[nodiscard]] std::string in(int i) const { return node.has_input(i) ? node.input(i) : ""; }
  [[nodiscard]] Stored constant(int i) const { return to.Constant(in(i)); }
  [[nodiscard]] std::string output() const { return node.output(0); }
  /// The node's name without what quantizers append.
  [[nodiscard]] std::string name() const {
    std::string name = node.proto().name();
    for (const std::string_view suffix : {"_Q2", "_Q4", "_Q8", "_Bnb4", "_quant"}) {
      if (name.size() > suffix.size() && name.ends_with(suffix)) {
        name.resize(name.size() - suffix.size());
      }
    }
    return name;
  }
  [[nodiscard]] std::string Fresh(const std::string& what) const {
    return to.Unique(output() + "/" + what);
  }
  void CopyAttributes(onnx::NodeProto& heir, const Node& from,
                      std::initializer_list<std::string_view> names) const {
    for (const auto& attribute : from.proto().attribute()) {
      if (std::ranges::find(names, attribute.name()) != names.end()) {
        *heir.add_attribute() = attribute;
      }
    }
  }
  /// x · w + bias under the node's output.
  void EmitProduct(const std::string& x, const std::string& w, const std::string& bias) const {
    const std::string product = bias.empty() ? output() : Fresh("product");
    to.Emit("MatMul", name(), {x, w}, product);
    if (!bias.empty()) to.Emit("Add", name() + "/add_bias", {product, bias}, output());
  }
  /// The float value behind an activation's codes: what a DynamicQuantizeLinear has read, or a
  /// DequantizeLinear.
  [[nodiscard]] std::string FloatOf(const std::string& codes, const std::string& scale,
                                    const std::string& zero) const {
    const auto* dynamic = to.Producer(codes, "DynamicQuantizeLinear");
    if (dynamic != nullptr && dynamic->output(0) == codes && dynamic->output(1) == scale) {
      to.Retire(codes);
      return dynamic->input(0);
    }
    std::string floats = Fresh("dequantized");
    std::vector<std::string> inputs = {codes, scale};
    if (!zero.empty()) inputs.push_back(zero);
    to.Emit("DequantizeLinear", name() + "/dequantize_input", inputs, floats);
    return floats;
  }
  /// Codes of any integer type with a scale for the tensor or for each index of an axis.
  [[nodiscard]] std::string AddLinear(const Stored& codes, const Stored& scale, const Stored& zero,
                                      int64_t axis, int64_t block = 0) const {
    QuantizedWeight weight;
    weight.codes = codes;
    weight.scales = scale;
    weight.zeros = zero;
    weight.shape = ShapeOf(*codes);
    weight.dtype = TypeOf(*scale);
    weight.code_type = TypeOf(*codes);
    weight.row_codes = weight.shape.back();
    weight.axis = axis;
    weight.block = block;
    return to.AddWeight(std::move(weight));
  }
};

DType CodeType(const Node& node, int64_t bits) {
  if (bits == 2) return DType::kUint2;
  if (bits == 4) return DType::kUint4;
  if (bits == 8) return DType::kUint8;
  throw UnsupportedError("node '" + node.name() + "': weights of " + std::to_string(bits) +
                         " bits cannot be dequantized; 2, 4 and 8 are supported");
}

bool IsCode(DType dtype) {
  switch (dtype) {
    case DType::kInt8:
    case DType::kUint8:
    case DType::kInt16:
    case DType::kUint16:
    case DType::kInt4:
    case DType::kUint4:
    case DType::kInt2:
    case DType::kUint2: return true;
    default: return false;
  }
}

/// Two dimensions of more than one element: a weight, not a bias or a scalar.
bool IsWeight(const Stored& tensor) {
  if (tensor == nullptr || !IsCode(TypeOf(*tensor))) return false;
  return std::ranges::count_if(tensor->dims(), [](int64_t dim) { return dim > 1; }) >= 2;
}

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
  auto& axis = *gather.add_attribute();
  axis.set_name("axis");
  axis.set_type(onnx::AttributeProto::INT);
  axis.set_i(rule.node.Int("gather_axis", 0));
  return true;
}

bool QMoE(const Rule& rule) {
  const Stored first = rule.constant(2);
  if (first == nullptr || rule.constant(3) == nullptr) return false;
  const int64_t bits = rule.node.Int("expert_weight_bits", 4);
  rule.to.Found(rule.node, first, static_cast<int>(bits));
  if (!rule.to.changes() || rule.node.has_input(14)) return false;  // MoE takes no mixing weights
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
  rule.CopyAttributes(moe, rule.node,
                      {"k", "activation_type", "swiglu_fusion", "swiglu_limit", "activation_alpha",
                       "activation_beta", "use_sparse_mixer"});
  auto& normalize = *moe.add_attribute();  // QMoE always does
  normalize.set_name("normalize_routing_weights");
  normalize.set_type(onnx::AttributeProto::INT);
  normalize.set_i(1);
  return true;
}

/// A table of codes whose rows are dequantized when they have been gathered.
bool DequantizedGather(const Rule& rule) {
  const auto* gather = rule.to.Producer(rule.in(0), "Gather");
  const Stored scale = rule.constant(1);
  if (gather == nullptr || scale == nullptr) return false;
  const Stored codes = rule.to.Constant(gather->input(0));
  if (!IsWeight(codes) || NumElements(ShapeOf(*scale)) != 1) return false;
  rule.to.Found(rule.node, codes, BitsOf(TypeOf(*codes)));
  if (!rule.to.changes()) return false;
  auto& heir = rule.to.Emit("Gather", gather->name(),
                            {rule.AddLinear(codes, scale, rule.constant(2), 0), gather->input(1)},
                            rule.output());
  *heir.mutable_attribute() = gather->attribute();
  rule.to.Retire(rule.in(0));
  return true;
}

bool DequantizeLinear(const Rule& rule) {
  const Stored codes = rule.constant(0);
  const Stored scale = rule.constant(1);
  if (codes == nullptr) return DequantizedGather(rule);
  if (!IsWeight(codes) || scale == nullptr) return false;
  rule.to.Found(rule.node, codes, BitsOf(TypeOf(*codes)));
  if (!rule.to.changes()) return false;
  const std::string weight = rule.AddLinear(
      codes, scale, rule.constant(2), rule.node.Int("axis", 1), rule.node.Int("block_size", 0));
  rule.to.Rename(rule.output(), weight);
  return true;
}

/// What quantize_dynamic makes of a product: Cast(MatMulInteger) · (scale of x · scale of w).
bool DynamicProduct(const Rule& rule) {
  for (const int i : {0, 1}) {
    const auto* cast = rule.to.Producer(rule.in(i), "Cast");
    const auto* scales = rule.to.Producer(rule.in(1 - i), "Mul");
    const auto* product = cast == nullptr ? nullptr : rule.to.Producer(cast->input(0));
    if (product == nullptr || scales == nullptr) continue;
    const bool conv = product->op_type() == "ConvInteger";
    if (!conv && product->op_type() != "MatMulInteger") continue;
    const Node integer(*product, rule.node.opset());
    const auto* dynamic = rule.to.Producer(integer.input(0), "DynamicQuantizeLinear");
    const Stored codes = rule.to.Constant(integer.input(1));
    if (dynamic == nullptr || !IsWeight(codes)) continue;
    const int of_x = scales->input(0) == dynamic->output(1) ? 0 : 1;
    const Stored scale = rule.to.Constant(scales->input(1 - of_x));
    if (scales->input(of_x) != dynamic->output(1) || scale == nullptr) continue;
    if (!rule.to.changes()) return false;
    const Stored zero = integer.has_input(3) ? rule.to.Constant(integer.input(3)) : nullptr;
    if (integer.has_input(3) && zero == nullptr) continue;
    if (conv && NumElements(ShapeOf(*scale)) != 1) continue;
    const std::string weight =
        rule.AddLinear(codes, scale, zero, conv ? 0 : codes->dims_size() - 1);
    auto& heir = rule.to.Emit(conv ? "Conv" : "MatMul", Rule{rule.to, integer}.name(),
                              {dynamic->input(0), weight}, rule.output());
    if (conv) *heir.mutable_attribute() = product->attribute();
    for (const std::string& value : {rule.in(0), rule.in(1), cast->input(0), dynamic->output(0)}) {
      rule.to.Retire(value);
    }
    return true;
  }
  return false;
}

/// Only found here: the Mul behind it makes it a float product.
bool IntegerProduct(const Rule& rule) {
  const Stored codes = rule.constant(1);
  if (IsWeight(codes)) rule.to.Found(rule.node, codes, BitsOf(TypeOf(*codes)));
  return false;
}

bool DynamicQuantizeMatMul(const Rule& rule) {
  const Stored codes = rule.constant(1);
  const Stored scale = rule.constant(2);
  if (!IsWeight(codes)) return false;
  rule.to.Found(rule.node, codes, 8);
  if (!rule.to.changes() || scale == nullptr) return false;
  rule.EmitProduct(rule.in(0),
                   rule.AddLinear(codes, scale, rule.constant(3), codes->dims_size() - 1),
                   rule.in(4));
  return true;
}

bool MatMulIntegerToFloat(const Rule& rule) {
  const Stored codes = rule.constant(1);
  const Stored scale = rule.constant(3);
  if (!IsWeight(codes)) return false;
  rule.to.Found(rule.node, codes, 8);
  if (!rule.to.changes() || scale == nullptr) return false;
  const std::string weight = rule.AddLinear(codes, scale, rule.constant(5), codes->dims_size() - 1);
  rule.EmitProduct(rule.FloatOf(rule.in(0), rule.in(2), rule.in(4)), weight, rule.in(6));
  return true;
}

/// Emits `type` of float inputs, and its quantization when the node gives codes.
void EmitBetweenCodes(const Rule& rule, const std::string& type,
                      const std::vector<std::string>& inputs, const std::string& scale,
                      const std::string& zero, std::initializer_list<std::string_view> attributes) {
  const std::string floats = scale.empty() ? rule.output() : rule.Fresh("floats");
  rule.CopyAttributes(rule.to.Emit(type, rule.name(), inputs, floats), rule.node, attributes);
  if (scale.empty()) return;
  std::vector<std::string> codes = {floats, scale};
  if (!zero.empty()) codes.push_back(zero);
  rule.to.Emit("QuantizeLinear", rule.name() + "/quantize_output", codes, rule.output());
}

/// A bias in steps of the product of both scales.
std::string AddBias(const Rule& rule, const Stored& codes, const Stored& x_scale,
                    const Stored& w_scale, float factor) {
  std::vector<float> bias = rule.to.ReadFloats(codes);
  const std::vector<float> x = rule.to.ReadFloats(x_scale);
  const std::vector<float> w = rule.to.ReadFloats(w_scale);
  for (size_t i = 0; i < bias.size(); ++i) {
    bias[i] *= factor * x.front() * (w.size() == 1 ? w.front() : w[i % w.size()]);
  }
  return rule.to.AddFloats(rule.output() + "/bias", bias);
}

bool QLinearMatMul(const Rule& rule) {
  const Stored codes = rule.constant(3);
  const Stored scale = rule.constant(4);
  if (!IsWeight(codes)) return false;
  rule.to.Found(rule.node, codes, 8);
  if (!rule.to.changes() || scale == nullptr) return false;
  const std::string weight = rule.AddLinear(codes, scale, rule.constant(5), codes->dims_size() - 1);
  const std::string x = rule.FloatOf(rule.in(0), rule.in(1), rule.in(2));
  EmitBetweenCodes(rule, "MatMul", {x, weight}, rule.in(6), rule.in(7), {});
  return true;
}

/// QLinearConv of ai.onnx, and QGemm, which differ in where the output's scale stands.
bool LinearWithBias(const Rule& rule) {
  const bool conv = rule.node.op_type() == "QLinearConv";
  const Stored codes = rule.constant(3);
  const Stored scale = rule.constant(4);
  if (!IsWeight(codes)) return false;
  rule.to.Found(rule.node, codes, 8);
  const int bias_at = conv ? 8 : 6;
  const int scale_at = conv ? 6 : 7;
  const Stored bias = rule.constant(bias_at);
  const Stored x_scale = rule.constant(1);
  if (!rule.to.changes() || scale == nullptr || rule.node.Int("channels_last", 0) != 0 ||
      (rule.node.has_input(bias_at) && (bias == nullptr || x_scale == nullptr))) {
    return false;
  }
  const bool rows = conv || rule.node.Int("transB", 0) != 0;
  const std::string weight = rule.AddLinear(codes, scale, rule.constant(5), rows ? 0 : 1);
  std::vector<std::string> inputs = {rule.FloatOf(rule.in(0), rule.in(1), rule.in(2)), weight};
  if (bias != nullptr) {
    const float alpha = conv ? 1.0f : rule.node.Float("alpha", 1.0f);
    inputs.push_back(AddBias(rule, bias, x_scale, scale, alpha));
  }
  EmitBetweenCodes(rule, conv ? "Conv" : "Gemm", inputs, rule.in(scale_at), rule.in(scale_at + 1),
                   {"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides", "alpha",
                    "transA", "transB"});
  return true;
}

bool QAttention(const Rule& rule) {
  const Stored codes = rule.constant(1);
  const Stored scale = rule.constant(4);
  if (!IsWeight(codes)) return false;
  rule.to.Found(rule.node, codes, 8);
  if (!rule.to.changes() || scale == nullptr) return false;
  const std::string weight = rule.AddLinear(codes, scale, rule.constant(7), 1);
  std::vector<std::string> inputs = {rule.FloatOf(rule.in(0), rule.in(3), rule.in(6)), weight,
                                     rule.in(2), rule.in(5), rule.in(8)};
  while (inputs.back().empty()) inputs.pop_back();
  auto& attention = rule.to.Emit("Attention", rule.name(), inputs, rule.output(), kMicrosoft);
  for (int i = 1; i < rule.node.output_count(); ++i) attention.add_output(rule.node.output(i));
  rule.CopyAttributes(attention, rule.node,
                      {"num_heads", "unidirectional", "mask_filter_value", "scale", "do_rotary",
                       "past_present_share_buffer"});
  return true;
}

/// Found, but not rewritten.
bool Opaque(const Rule& rule) {
  for (int i = 0; i < rule.node.input_count(); ++i) {
    const Stored codes = rule.constant(i);
    if (!IsWeight(codes)) continue;
    rule.to.Found(rule.node, codes, BitsOf(TypeOf(*codes)));
    return false;
  }
  return false;
}

bool FloatProduct(const Rule& rule) {
  const auto* mover = rule.to.Producer(rule.in(1));
  const bool moved = mover != nullptr && mover->input_size() > 0 &&
                     (mover->op_type() == "Transpose" || mover->op_type() == "Cast");
  const Stored weight = moved ? rule.to.Constant(mover->input(0)) : rule.constant(1);
  if (weight != nullptr && weight->dims_size() > 1 && IsFloat(TypeOf(*weight))) {
    rule.to.CountFloatProduct();
  }
  return false;
}

}  // namespace

bool DequantizeNode(DequantizeRewriter& rewriter, const Node& node) {
  using Function = bool (*)(const Rule&);
  static const std::map<std::string, Function, std::less<>> kStandard = {
      {"DequantizeLinear", DequantizeLinear},
      {"Mul", DynamicProduct},
      {"MatMulInteger", IntegerProduct},
      {"ConvInteger", IntegerProduct},
      {"QLinearMatMul", QLinearMatMul},
      {"QLinearConv", LinearWithBias},
      {"MatMul", FloatProduct},
      {"Gemm", FloatProduct}};
  static const std::map<std::string, Function, std::less<>> kContrib = {
      {"DequantizeLinear", DequantizeLinear},
      {"MatMulNBits", MatMulNBits},
      {"MatMulBnb4", MatMulBnb4},
      {"GatherBlockQuantized", GatherBlockQuantized},
      {"QMoE", QMoE},
      {"DynamicQuantizeMatMul", DynamicQuantizeMatMul},
      {"MatMulIntegerToFloat", MatMulIntegerToFloat},
      {"QGemm", LinearWithBias},
      {"QAttention", QAttention},
      {"FusedMatMul", FloatProduct},
      {"QLinearConv", Opaque},
      {"DynamicQuantizeLSTM", Opaque},
      {"QEmbedLayerNormalization", Opaque},
      {"QOrderedMatMul", Opaque}};
  const auto& rules = node.domain().empty() ? kStandard : kContrib;
  if (!node.domain().empty() && node.domain() != kMicrosoft) return false;
  const auto found = rules.find(node.op_type());
  return found != rules.end() && found->second(Rule{rewriter, node});
}

}  // namespace ptq
