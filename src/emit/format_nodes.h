// What the formats share: building nodes and attributes, and storing scales in the graph's type.
#pragma once

#include <span>
#include <string>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/emit/linear_format.h"

namespace ptq {

[[nodiscard]] onnx::NodeProto MakeNode(const std::string& op_type, const std::string& name,
                                       const std::vector<std::string>& inputs,
                                       const std::string& output);
void SetInt(onnx::NodeProto& node, const std::string& name, int64_t value);
[[nodiscard]] onnx::NodeProto MakeCast(const std::string& name, const std::string& input,
                                       const std::string& output, DType to);

/// Hands scales (or any floats) over in `dtype` (float32, float16). Throws UnsupportedError when
/// one is not finite in it.
std::string AddFloats(TensorSink& sink, const std::string& name, DType dtype, const Shape& shape,
                      std::span<const float> values);
std::string AddBytes(TensorSink& sink, const std::string& name, DType dtype, const Shape& shape,
                     std::span<const std::byte> bytes);

/// Type in which the product is computed. No runtime has a bfloat16 kernel for quantized products
/// on the CPU and bfloat16 would lose bits of the scales, so those linears compute in float32.
[[nodiscard]] DType ComputeType(const LinearToEmit& linear);

/// Surrounds `nodes`, which map `inner_input` to `inner_output`, with the Casts that ComputeType
/// needs. Nothing is added when it equals the linear's type.
struct CastedNames {
  std::string input;
  std::string output;
  std::string bias;
};
[[nodiscard]] CastedNames InnerNames(const LinearToEmit& linear);
[[nodiscard]] std::vector<onnx::NodeProto> WithCasts(const LinearToEmit& linear,
                                                     std::vector<onnx::NodeProto> nodes);

/// The same for gathered matrices: the type and name of what the nodes give, and what converts it
/// to the stack's output.
[[nodiscard]] DType GatheredType(const StackToEmit& stack);
[[nodiscard]] std::string GatheredName(const StackToEmit& stack);
[[nodiscard]] std::vector<onnx::NodeProto> WithConversion(const StackToEmit& stack,
                                                          std::vector<onnx::NodeProto> nodes);

/// Sets the import of a domain to at least `version`.
void RaiseOpset(onnx::ModelProto& model, const std::string& domain, int64_t version);
/// Version of the import; 0 when there is none.
[[nodiscard]] int64_t OpsetOf(const onnx::ModelProto& model, const std::string& domain);

}  // namespace ptq
