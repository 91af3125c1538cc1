// What the formats share: casts around products, and storing scales in the graph's type.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/emit/linear_form.h"
#include "ptq/model/node_builder.h"

namespace ptq {

/// Why a form refuses an expert's weight.
inline constexpr char kNoExperts[] = "the form has no operator that holds several experts";

/// Hands scales (or any floats) over in `dtype` (float32, float16), when they are asked for. Throws
/// UnsupportedError when one is not finite in it.
std::string AddFloats(TensorSink& sink, const std::string& name, DType dtype, const Shape& shape,
                      const std::function<std::vector<float>()>& values);

/// Raises the IR version as far as integers of these bits need. Throws UnsupportedError for 2 bits
/// in a model of an opset that has none.
void PrepareIntegers(onnx::ModelProto& model, std::span<const QuantSpec> specs);

/// Type in which the product is computed. No runtime has a bfloat16 kernel for quantized products
/// on the CPU and bfloat16 would lose bits of the scales, so those linears compute in float32.
[[nodiscard]] DType ComputeType(const LinearToEmit& linear);

/// The same of activations of a type.
[[nodiscard]] DType ScaleTypeFor(DType compute);

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

/// Appends the product by a weight [K, N] that the graph computes, and the bias behind it.
void AddProduct(const LinearToEmit& linear, const CastedNames& names, const std::string& weight,
                std::vector<onnx::NodeProto>& nodes);

}  // namespace ptq
