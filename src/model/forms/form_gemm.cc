// ai.onnx Gemm and com.microsoft FusedGemm (a Gemm with an activation behind it).

#include <string>

#include "linear_forms.h"

namespace ptq {
namespace {

/// The operands of a Gemm that are left when one of them is a weight.
struct Product {
  bool left = false;  ///< the weight is A
  bool transpose_activation = false;
  bool transpose_weight = false;  ///< as transB of a product with the weight on the right
  float alpha = 1;
  float beta = 1;
};

/// Nothing when both operands are constants, or none.
std::optional<Product> ProductOf(const FormWriter& writer) {
  const bool a = writer.View(0).has_value();
  const bool b = writer.View(1).has_value();
  if (a == b) return std::nullopt;
  const Node& node = writer.node();
  const bool trans_a = node.Int("transA", 0) != 0;
  const bool trans_b = node.Int("transB", 0) != 0;
  Product product;
  product.left = a;
  // Yᵀ = B'ᵀ · A'ᵀ: the weight comes to the right side, and everything is transposed.
  product.transpose_activation = a ? !trans_b : trans_a;
  product.transpose_weight = a ? !trans_a : trans_b;
  product.alpha = node.Float("alpha", 1.0f);
  product.beta = node.Float("beta", 1.0f);
  return product;
}

/// A bias [N] that is stored can stay inside the node.
bool HasPlainBias(const FormWriter& writer, const Product& product) {
  if (writer.input(2) == kNoValue) return true;
  const auto bias = writer.View(2);
  if (!bias.has_value() || product.beta != 1.0f) return false;
  const auto weight = writer.View(product.left ? 0 : 1);
  return bias->shape == Shape{weight->shape[product.transpose_weight ? 0 : 1]};
}

bool IsPlain(const FormWriter& writer, const Product& product) {
  return !product.left && !product.transpose_activation && product.alpha == 1.0f &&
         HasPlainBias(writer, product);
}

/// Writes the plain form whose last value is `output`.
void WriteProduct(FormWriter& writer, const Product& product, const std::string& output) {
  const size_t at = product.left ? 0 : 1;
  const DType dtype = writer.View(at)->dtype;
  std::string x = writer.InputName(1 - at);
  if (product.transpose_activation) x = writer.Transpose(x, {1, 0});
  const bool biased = writer.input(2) != kNoValue;
  const bool scaled = product.alpha != 1.0f;
  const bool last = !biased && !scaled && !product.left;
  std::string y = writer.Add("Gemm", {x, writer.InputName(at)}, last ? output : "");
  writer.NameProduct();
  SetInt(writer.last(), "transB", product.transpose_weight ? 1 : 0);
  if (product.left) y = writer.Transpose(y, {1, 0}, biased || scaled ? "" : output);
  if (scaled) {
    const std::string alpha = writer.Scalar(product.alpha, dtype);
    y = writer.Add("Mul", {y, alpha}, biased ? "" : output);
  }
  if (!biased) return;
  std::string bias = writer.InputName(2);
  if (product.beta != 1.0f) {
    bias = writer.Add("Mul", {bias, writer.Scalar(product.beta, dtype)});
  }
  writer.Add("Add", {y, bias}, output);
}

}  // namespace

bool SpellOutGemm(FormWriter& writer) {
  const auto product = ProductOf(writer);
  if (!product.has_value() || IsPlain(writer, *product)) return false;
  WriteProduct(writer, *product, writer.node().output(0));
  return true;
}

bool SpellOutFusedGemm(FormWriter& writer) {
  const Node& node = writer.node();
  const auto product = ProductOf(writer);
  const std::string activation = node.String("activation", "");
  if (!product.has_value() || activation.empty()) return false;
  const std::string y = writer.Fresh();
  WriteProduct(writer, *product, y);
  writer.Add(activation, {y}, node.output(0));
  for (const std::string name : {"alpha", "beta", "gamma"}) {
    const std::string given = "activation_" + name;
    if (node.HasAttribute(given)) SetFloat(writer.last(), name, node.Float(given, 0));
  }
  return true;
}

}  // namespace ptq
