// The rule of every operator that takes quantized weights, and those that only look.
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "dequantize_rule.h"

namespace ptq {
namespace {

using dequantize::IsOperand;
using dequantize::IsWeight;
using dequantize::Rule;
using dequantize::Stored;
using dequantize::TypeOf;

/// Only found here: the Mul behind it makes it a float product.
bool IntegerProduct(const Rule& rule) {
  const Stored codes = rule.constant(1);
  if (IsOperand(codes)) rule.to.Found(rule.node, codes, BitsOf(TypeOf(*codes)));
  return false;
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
      {"DequantizeLinear", dequantize::DequantizeLinear},
      {"Mul", dequantize::DynamicProduct},
      {"MatMulInteger", IntegerProduct},
      {"ConvInteger", IntegerProduct},
      {"QLinearMatMul", dequantize::QLinearMatMul},
      {"QLinearConv", dequantize::LinearWithBias},
      {"MatMul", FloatProduct},
      {"Gemm", FloatProduct},
      {"Cast", dequantize::CastOfCache},
      {"If", dequantize::BranchesWithCaches}};
  static const std::map<std::string, Function, std::less<>> kContrib = {
      {"DequantizeLinear", dequantize::DequantizeLinear},
      {"MatMulNBits", dequantize::MatMulNBits},
      {"MatMulBnb4", dequantize::MatMulBnb4},
      {"GatherBlockQuantized", dequantize::GatherBlockQuantized},
      {"QMoE", dequantize::QMoE},
      {"DynamicQuantizeMatMul", dequantize::DynamicQuantizeMatMul},
      {"MatMulIntegerToFloat", dequantize::MatMulIntegerToFloat},
      {"QGemm", dequantize::LinearWithBias},
      {"QAttention", dequantize::QAttention},
      {"FusedMatMul", FloatProduct},
      {"GroupQueryAttention", dequantize::QuantizedCache},
      {"QLinearConv", Opaque},
      {"DynamicQuantizeLSTM", Opaque},
      {"QEmbedLayerNormalization", Opaque},
      {"QOrderedMatMul", Opaque}};
  const auto& rules = node.domain().empty() ? kStandard : kContrib;
  if (!node.domain().empty() && node.domain() != dequantize::kMicrosoft) return false;
  const auto found = rules.find(node.op_type());
  return found != rules.end() && found->second(Rule{rewriter, node});
}

}  // namespace ptq
