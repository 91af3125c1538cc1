// Makes the casts around bfloat16 linears, and refuses scales that are not finite once stored.
#include "format_nodes.h"

#include <cmath>

#include "ptq/base/error.h"
#include "ptq/model/constant_view.h"

namespace ptq {
onnx::NodeProto MakeNode(const std::string& op_type, const std::string& name,
                         const std::vector<std::string>& inputs, const std::string& output) {
  onnx::NodeProto node;
  node.set_op_type(op_type);
  node.set_name(name);
  for (const std::string& input : inputs) node.add_input(input);
  node.add_output(output);
  return node;
}

void SetInt(onnx::NodeProto& node, const std::string& name, int64_t value) {
  auto* attribute = node.add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::INT);
  attribute->set_i(value);
}

onnx::NodeProto MakeCast(const std::string& name, const std::string& input,
                         const std::string& output, DType to) {
  auto node = MakeNode("Cast", name, {input}, output);
  SetInt(node, "to", static_cast<int64_t>(to));
  return node;
}

std::string AddBytes(TensorSink& sink, const std::string& name, DType dtype, const Shape& shape,
                     std::span<const std::byte> bytes) {
  return sink.Add(name, dtype, shape, bytes);
}

std::string AddFloats(TensorSink& sink, const std::string& name, DType dtype, const Shape& shape,
                      std::span<const float> values) {
  for (const float value : values) {
    const float stored = dtype == DType::kFloat16 ? RoundToHalf(value) : value;
    if (!std::isfinite(stored)) {
      throw UnsupportedError("'" + name + "': the value " + std::to_string(value) +
                             " is not finite in " + std::string(DTypeName(dtype)) +
                             "; exclude this layer or use --method rtn");
    }
  }
  if (dtype == DType::kFloat32) return sink.Add(name, dtype, shape, std::as_bytes(values));
  std::vector<Half> halves(values.size());
  Convert(values, std::span<Half>(halves));
  return sink.Add(name, dtype, shape, std::as_bytes(std::span<const Half>(halves)));
}

DType ComputeType(const LinearToEmit& linear) {
  return linear.type == DType::kBFloat16 ? DType::kFloat32 : linear.type;
}

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

DType GatheredType(const StackToEmit& stack) {
  return stack.type == DType::kBFloat16 ? DType::kFloat32 : stack.type;
}

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
    auto* equation = node.add_attribute();
    equation->set_name("equation");
    equation->set_type(onnx::AttributeProto::STRING);
    equation->set_s(kSwapLastTwo);
    nodes.push_back(std::move(node));
    name = swapped;
  }
  if (casts) nodes.push_back(MakeCast(stack.node_name + "/cast", name, stack.output, stack.type));
  return nodes;
}

int64_t OpsetOf(const onnx::ModelProto& model, const std::string& domain) {
  for (const auto& import : model.opset_import()) {
    if (import.domain() == domain) return import.version();
  }
  return 0;
}

void RaiseOpset(onnx::ModelProto& model, const std::string& domain, int64_t version) {
  for (auto& import : *model.mutable_opset_import()) {
    if (import.domain() != domain) continue;
    if (import.version() < version) import.set_version(version);
    return;
  }
  auto* import = model.add_opset_import();
  import->set_domain(domain);
  import->set_version(version);
}

}  // namespace ptq
