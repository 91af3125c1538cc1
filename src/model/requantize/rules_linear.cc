// Rules of operators whose codes have a scale for the tensor or for each index of an axis: those of
// ai.onnx, ONNX Runtime's (ContribOperators.md), and what its quantizers write.
#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "dequantize_rule.h"

#include "ptq/tensor/packed_integers.h"

namespace ptq::dequantize {
namespace {

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

/// Whether two constants hold the same, as far as can be told without reading files.
bool AreEqual(const Stored& a, const Stored& b) {
  if (a == b) return true;
  if (a == nullptr || b == nullptr) return false;
  const auto bytes = [](onnx::TensorProto tensor) {
    tensor.clear_name();
    return tensor.SerializeAsString();
  };
  return bytes(*a) == bytes(*b);
}

/// What is rounded to levels of one scale stays as it was before.
bool RoundedActivation(const Rule& rule) {
  const auto* quantize = rule.to.Producer(rule.in(0), "QuantizeLinear");
  if (!rule.to.float_activations() || quantize == nullptr) return false;
  const Node maker(*quantize, rule.node.opset());
  const Stored scale = rule.constant(1);  // a branch may have copies of its own
  if (scale == nullptr || rule.to.Constant(maker.input(0)) != nullptr) return false;
  if (!AreEqual(scale, rule.to.Constant(maker.input(1)))) return false;
  rule.to.Rename(rule.output(), maker.input(0));
  rule.to.Retire(rule.in(0));
  return true;
}

/// Floats between QuantizeLinear and DequantizeLinear, as quantization-aware training exports them.
bool FakeQuantized(const Rule& rule) {
  const auto* quantize = rule.to.Producer(rule.in(0), "QuantizeLinear");
  const Stored scale = rule.constant(1);
  const Stored zero = rule.constant(2);
  if (quantize == nullptr || scale == nullptr || rule.node.has_input(2) != (zero != nullptr)) {
    return false;
  }
  const Node maker(*quantize, rule.node.opset());
  const Stored floats = rule.to.Constant(maker.input(0));
  const bool matrix =
      floats != nullptr && IsFloat(TypeOf(*floats)) &&
      std::ranges::count_if(floats->dims(), [](int64_t dim) { return dim > 1; }) >= 2;
  const Stored other = maker.has_input(2) ? rule.to.Constant(maker.input(2)) : nullptr;
  if (!matrix || !AreEqual(scale, rule.to.Constant(maker.input(1))) || !AreEqual(zero, other) ||
      maker.Int("axis", 1) != rule.node.Int("axis", 1) ||
      maker.Int("block_size", 0) != rule.node.Int("block_size", 0)) {
    return false;
  }
  QuantizedWeight weight;
  weight.code_type =
      zero != nullptr
          ? TypeOf(*zero)
          : static_cast<DType>(maker.Int("output_dtype", static_cast<int64_t>(DType::kUint8)));
  if (!IsInteger(weight.code_type) || BitsOf(weight.code_type) > 16) return false;
  rule.to.Found(rule.node, floats, BitsOf(weight.code_type));
  if (!rule.to.changes()) return false;
  weight.codes = floats;
  weight.scales = scale;
  weight.zeros = zero;
  weight.shape = ShapeOf(*floats);
  weight.dtype = TypeOf(*scale);
  weight.row_codes = weight.shape.back();
  weight.axis = rule.node.Int("axis", 1);
  weight.block = rule.node.Int("block_size", 0);
  rule.to.Rename(rule.output(), rule.to.AddWeight(std::move(weight)));
  rule.to.Retire(rule.in(0));
  return true;
}

/// Emits `type` of float inputs, and its quantization when the node gives codes.
void EmitBetweenCodes(const Rule& rule, const std::string& type,
                      const std::vector<std::string>& inputs, const std::string& scale,
                      const std::string& zero, std::initializer_list<std::string_view> attributes) {
  const std::string floats = scale.empty() ? rule.output() : rule.Fresh("floats");
  rule.CopyAttributes(rule.to.Emit(type, rule.name(), inputs, floats), attributes);
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

}  // namespace

bool DequantizeLinear(const Rule& rule) {
  const Stored codes = rule.constant(0);
  const Stored scale = rule.constant(1);
  if (codes == nullptr) {
    return RoundedActivation(rule) || FakeQuantized(rule) || DequantizedGather(rule);
  }
  if (!IsWeight(codes) || scale == nullptr) return false;
  rule.to.Found(rule.node, codes, BitsOf(TypeOf(*codes)));
  if (!rule.to.changes()) return false;
  const std::string weight = rule.AddLinear(
      codes, scale, rule.constant(2), rule.node.Int("axis", 1), rule.node.Int("block_size", 0));
  rule.to.Rename(rule.output(), weight);
  return true;
}

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
    if (dynamic == nullptr || !IsOperand(codes)) continue;
    const int of_x = scales->input(0) == OutputOf(*dynamic, 1) ? 0 : 1;
    const Stored scale = rule.to.Constant(scales->input(1 - of_x));
    if (scales->input(of_x) != OutputOf(*dynamic, 1) || scale == nullptr) continue;
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

bool DynamicQuantizeMatMul(const Rule& rule) {
  const Stored codes = rule.constant(1);
  const Stored scale = rule.constant(2);
  if (!IsOperand(codes)) return false;
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
  if (!IsOperand(codes)) return false;
  rule.to.Found(rule.node, codes, 8);
  if (!rule.to.changes() || scale == nullptr) return false;
  const std::string weight = rule.AddLinear(codes, scale, rule.constant(5), codes->dims_size() - 1);
  rule.EmitProduct(rule.FloatOf(rule.in(0), rule.in(2), rule.in(4)), weight, rule.in(6));
  return true;
}

bool QLinearMatMul(const Rule& rule) {
  const Stored codes = rule.constant(3);
  const Stored scale = rule.constant(4);
  if (!IsOperand(codes)) return false;
  rule.to.Found(rule.node, codes, 8);
  if (!rule.to.changes() || scale == nullptr) return false;
  const std::string weight = rule.AddLinear(codes, scale, rule.constant(5), codes->dims_size() - 1);
  const std::string x = rule.FloatOf(rule.in(0), rule.in(1), rule.in(2));
  EmitBetweenCodes(rule, "MatMul", {x, weight}, rule.in(6), rule.in(7), {});
  return true;
}

bool LinearWithBias(const Rule& rule) {
  const bool conv = rule.node.op_type() == "QLinearConv";
  const Stored codes = rule.constant(3);
  const Stored scale = rule.constant(4);
  if (!IsOperand(codes)) return false;
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
  rule.CopyAttributes(attention, {"num_heads", "unidirectional", "mask_filter_value", "scale",
                                  "do_rotary", "past_present_share_buffer"});
  return true;
}

}  // namespace ptq::dequantize
