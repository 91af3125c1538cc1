// A product of 8-bit integers in the standard's QDQ spelling, with levels of activations that are
// found beforehand.
#pragma once

#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/emit/linear_form.h"

namespace ptq {

/// QuantizeLinear and DequantizeLinear on the activation (made by the first of the linears that
/// read it), DequantizeLinear of the weight [K, N] along its columns, and the product: a Gemm where
/// the activation is a matrix for sure, since ONNX Runtime fuses no MatMul with a bias behind it
/// there. `alone`: takes tensors that no other linear may read: ONNX Runtime fuses none that are
/// shared, not even zero points of activations.
[[nodiscard]] std::vector<onnx::NodeProto> IntegerProduct(const LinearToEmit& linear,
                                                          TensorSink& alone);

}  // namespace ptq
