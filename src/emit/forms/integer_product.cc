// The nodes that ONNX Runtime fuses into MatMulIntegerToFloat and QGemm, and compilers for NPUs
// take.
#include "integer_product.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include "bit_packing.h"
#include "form_nodes.h"

#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

/// Of an activation's and a weight's code, less their zero points.
constexpr double kLargestProduct = 255.0 * 255.0;

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
  const ActivationLevels& levels = linear.levels;
  if (linear.rounded != nullptr) {
    // Linears that are calibrated apart from their siblings have levels of their own.
    const std::string key = linear.input + '\n' + std::to_string(levels.zero_point) + '\n' +
                            std::to_string(std::bit_cast<uint32_t>(levels.scale));
    const auto [known, is_new] = linear.rounded->try_emplace(key, RoundedInput{rounded, "", ""});
    if (!is_new) return known->second.codes;
  }
  const std::string scale =
      AddScalar(alone, linear.name + ".input_scale", DType::kFloat32, levels.scale);
  const std::string zero_name = linear.name + ".input_zero_point";
  const std::string zero =
      levels.bits == 16
          ? AddScalar(alone, zero_name, DType::kUint16, static_cast<uint16_t>(levels.zero_point))
          : AddScalar(alone, zero_name, DType::kUint8, static_cast<uint8_t>(levels.zero_point));
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
  const bool within = linear.is_matrix && linear.own_bias;
  const bool behind = !linear.bias.empty() && !within;
  const std::string product = behind ? linear.output + "_product" : linear.output;
  const std::string made = casts ? linear.output + "_float" : product;
  std::vector<std::string> operands = {x, floats};
  if (within) operands.push_back(linear.bias);
  nodes.Add(linear.is_matrix ? "Gemm" : "MatMul", "", operands, made);
  if (casts) nodes.Cast("/output_cast", made, product, linear.type);
  if (behind) nodes.Add("Add", "/bias", {product, linear.bias}, linear.output);
  return nodes.Take();
}

EmittedAddend IntegerAddend(const LinearToEmit& linear, std::span<const float> addend,
                            TensorSink& alone) {
  const QuantizedMatrix& q = *linear.q;
  const auto steps = [&] {
    std::vector<float> scales = q.scales;
    for (float& scale : scales) scale *= linear.levels.scale;
    return scales;
  };
  std::vector<int32_t> codes;
  std::vector<float> values;
  if (!addend.empty()) {
    const std::vector<float> scales = steps();
    // ONNX Runtime sums in 32 bits; no kernel does for activations of 16.
    const double products = linear.levels.bits == 8 ? double(q.k) * kLargestProduct : 0;
    for (size_t i = 0; i < addend.size(); ++i) {
      const double code = std::nearbyint(double(addend[i]) / double(scales[i]));
      if (!(std::abs(code) + products <= double(std::numeric_limits<int32_t>::max()))) return {};
      codes.push_back(static_cast<int32_t>(code));
      values.push_back(float(codes.back()) * scales[i]);  // as DequantizeLinear does
    }
  }
  Nodes nodes(linear);
  const std::vector<std::string> inputs = {
      alone.AddPacked(linear.name + ".bias_q32", DType::kInt32, {q.n},
                      [&] {
                        const auto bytes = std::as_bytes(std::span(codes));
                        return std::vector<std::byte>(bytes.begin(), bytes.end());
                      }),
      AddFloats(alone, linear.name + ".bias_scales", DType::kFloat32, {q.n}, steps)};
  SetInt(nodes.Add("DequantizeLinear", "/dequantize_bias", inputs,
                   linear.output + "_bias_dequantized"),
         "axis", 0);
  return {nodes.Take(), std::move(values)};
}

}  // namespace ptq
