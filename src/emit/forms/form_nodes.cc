// Makes the casts around bfloat16 linears, and refuses scales that are not finite once stored.
#include "form_nodes.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "ptq/base/error.h"
#include "ptq/base/half.h"
#include "ptq/model/constant_view.h"

namespace ptq {

namespace {

constexpr int64_t kTwoBitOpset = 25;
constexpr int64_t kIrVersion = 10;        // of 4-bit integers
constexpr int64_t kTwoBitIrVersion = 13;  // of 2-bit integers

std::vector<std::byte> Stored(const std::string& name, DType dtype, std::span<const float> values) {
  for (const float value : values) {
    const float stored = dtype == DType::kFloat16 ? RoundToHalf(value) : value;
    if (!std::isfinite(stored)) {
      throw UnsupportedError("'" + name + "': the value " + std::to_string(value) +
                             " is not finite in " + std::string(DTypeName(dtype)) +
                             "; exclude this layer or use --method rtn");
    }
  }
  const auto bytes_of = [](const auto& elements) {
    const auto bytes = std::as_bytes(std::span(elements));
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  };
  if (dtype == DType::kFloat32) return bytes_of(values);
  std::vector<Half> halves(values.size());
  Convert(values, std::span<Half>(halves));
  return bytes_of(halves);
}

}  // namespace

std::string AddFloats(TensorSink& sink, const std::string& name, DType dtype, const Shape& shape,
                      const std::function<std::vector<float>()>& values) {
  return sink.AddPacked(name, dtype, shape, [&] { return Stored(name, dtype, values()); });
}

void PrepareIntegers(onnx::ModelProto& model, std::span<const QuantSpec> specs) {
  const bool two_bits = std::ranges::any_of(specs, [](const auto& s) { return s.bits == 2; });
  if (two_bits && OpsetOf(model, "") < kTwoBitOpset) {
    throw UnsupportedError("2-bit integers in the QDQ format need a model of opset " +
                           std::to_string(kTwoBitOpset) + "; this one has opset " +
                           std::to_string(OpsetOf(model, "")) +
                           "; use --format matmulnbits or another number of bits");
  }
  const int64_t needed = two_bits ? kTwoBitIrVersion : kIrVersion;
  if (model.ir_version() < needed) model.set_ir_version(needed);
}

DType ScaleTypeFor(DType compute) {
  return compute == DType::kBFloat16 ? DType::kFloat32 : compute;
}

DType ComputeType(const LinearToEmit& linear) { return ScaleTypeFor(linear.type); }

CastedNames InnerNames(const LinearToEmit& linear) {
  if (ComputeType(linear) == linear.type) return {linear.input, linear.output, linear.bias};
  return {linear.output + "_input_fp32", linear.output + "_fp32",
          linear.bias.empty() ? "" : linear.output + "_bias_fp32"};
}

std::vector<onnx::NodeProto> WithCasts(const LinearToEmit& linear,
                                       std::vector<onnx::NodeProto> nodes) {
  const DType inner = ComputeType(linear);
  if (inner == linear.type) return nodes;
  const CastedNames names = InnerNames(linear);
  std::vector<onnx::NodeProto> all;
  all.push_back(MakeCast(linear.node_name + "/input_cast", linear.input, names.input, inner));
  if (!linear.bias.empty()) {
    all.push_back(MakeCast(linear.node_name + "/bias_cast", linear.bias, names.bias, inner));
  }
  for (auto& node : nodes) all.push_back(std::move(node));
  all.push_back(
      MakeCast(linear.node_name + "/output_cast", names.output, linear.output, linear.type));
  return all;
}

void AddProduct(const LinearToEmit& linear, const CastedNames& names, const std::string& weight,
                std::vector<onnx::NodeProto>& nodes) {
  const bool biased = !names.bias.empty();
  const std::string product = biased ? linear.output + "_without_bias" : names.output;
  nodes.push_back(MakeNode("MatMul", linear.node_name, {names.input, weight}, product));
  if (!biased) return;
  nodes.push_back(MakeNode("Add", linear.node_name + "/bias", {product, names.bias}, names.output));
}

DType GatheredType(const StackToEmit& stack) { return ScaleTypeFor(stack.type); }

std::string GatheredName(const StackToEmit& stack) {
  const bool converted = stack.swapped || GatheredType(stack) != stack.type;
  return stack.output + (converted ? "_gathered" : "");
}

std::vector<onnx::NodeProto> WithConversion(const StackToEmit& stack,
                                            std::vector<onnx::NodeProto> nodes) {
  std::string name = GatheredName(stack);
  const bool casts = GatheredType(stack) != stack.type;
  if (stack.swapped) {  // whatever the rank of the indices
    const std::string swapped = casts ? stack.output + "_swapped" : stack.output;
    auto node = MakeNode("Einsum", stack.node_name + "/swap", {name}, swapped);
    SetString(node, "equation", kSwapLastTwo);
    nodes.push_back(std::move(node));
    name = swapped;
  }
  if (casts) nodes.push_back(MakeCast(stack.node_name + "/cast", name, stack.output, stack.type));
  return nodes;
}

}  // namespace ptq
