// The nodes that ONNX Runtime fuses into MatMulIntegerToFloat and QGemm, and compilers for NPUs
// take.
#include "integer_product.h"

#include <span>
#include <string>
#include <utility>

#include "bit_packing.h"
#include "form_nodes.h"

#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

/// Appends nodes whose names begin alike.
class Nodes {
 public:
  explicit Nodes(const LinearToEmit& linear) : linear_(linear) {}
  onnx::NodeProto& Add(const char* type, const char* part, const std::vector<std::string>& inputs,
                       const std::string& output) {
    return nodes_.emplace_back(MakeNode(type, linear_.node_name + part, inputs, output));
  }
  void Cast(const char* part, const std::string& input, const std::string& output, DType type) {
    nodes_.push_back(MakeCast(linear_.node_name + part, input, output, type));
  }
  [[nodiscard]] std::vector<onnx::NodeProto> Take() { return std::move(nodes_); }

 private:
  const LinearToEmit& linear_;
  std::vector<onnx::NodeProto> nodes_;
};

template <class T>
std::string AddScalar(TensorSink& sink, const std::string& name, DType dtype, T value) {
  return sink.Add(name, dtype, {}, std::as_bytes(std::span(&value, 1)));
}

/// The floats that the activation's codes mean.
std::string RoundedActivationOf(const LinearToEmit& linear, TensorSink& alone, Nodes& nodes) {
  const std::string base = linear.output + "_input";  // no other node's output has that name
  std::string rounded = base + "_rounded";
  if (linear.rounded != nullptr) {
    const auto [known, is_new] =
        linear.rounded->try_emplace(linear.input, RoundedInput{rounded, "", ""});
    if (!is_new) return known->second.codes;
  }
  const std::string scale =
      AddScalar(alone, linear.name + ".input_scale", DType::kFloat32, linear.rounding.scale);
  const std::string zero = AddScalar(alone, linear.name + ".input_zero_point", DType::kUint8,
                                     linear.rounding.zero_point);
  std::string input = linear.input;
  if (linear.type != DType::kFloat32) {
    input = base + "_float";
    nodes.Cast("/input_cast", linear.input, input, DType::kFloat32);
  }
  nodes.Add("QuantizeLinear", "/quantize", {input, scale, zero}, base + "_codes");
  nodes.Add("DequantizeLinear", "/dequantize_input", {base + "_codes", scale, zero}, rounded);
  return rounded;
}

}  // namespace

std::vector<onnx::NodeProto> IntegerProduct(const LinearToEmit& linear, TensorSink& alone) {
  const QuantizedMatrix& q = *linear.q;
  Nodes nodes(linear);
  const std::string x = RoundedActivationOf(linear, alone, nodes);
  const DType type = IntegerType(q.spec);
  // A Gemm is fused only where its weight has zero points.
  const std::vector<std::string> weight = {
      alone.AddPacked(linear.name + ".weight_q8", type, {q.k, q.n},
                      [&] { return PackIntegers(Transposed(q.codes, q.n, q.k), q.spec); }),
      AddFloats(alone, linear.name + ".weight_scales", DType::kFloat32, {q.n},
                [&] { return q.scales; }),
      alone.AddPacked(linear.name + ".weight_zero_points", type, {q.n},
                      [&] { return PackIntegers(q.zero_points, q.spec); })};
  const std::string floats = linear.output + "_weight_dequantized";
  SetInt(nodes.Add("DequantizeLinear", "/dequantize", weight, floats), "axis", 1);
  const bool casts = linear.type != DType::kFloat32;
  const std::string product = linear.bias.empty() ? linear.output : linear.output + "_product";
  const std::string made = casts ? linear.output + "_float" : product;
  nodes.Add(linear.is_matrix ? "Gemm" : "MatMul", "", {x, floats}, made);
  if (casts) nodes.Cast("/output_cast", made, product, linear.type);
  if (!linear.bias.empty()) nodes.Add("Add", "/bias", {product, linear.bias}, linear.output);
  return nodes.Take();
}

}  // namespace ptq
