// A product of 8-bit integers in the standard's QDQ spelling, with levels of activations that are
// found beforehand.
#pragma once

#include <span>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/emit/linear_form.h"

namespace ptq {

/// QuantizeLinear and DequantizeLinear on the activation (made by the first of the linears that
/// read it), DequantizeLinear of the weight [K, N] along its columns, and the product: a Gemm where
/// the activation is a matrix for sure, since ONNX Runtime fuses no MatMul with a bias behind it
/// there, and with an addend of its own within it. Codes of activations have 8 or 16 bits. `alone`:
/// takes tensors that no other linear may read: ONNX Runtime fuses none that are
/// shared, not even zero points of activations.
[[nodiscard]] std::vector<onnx::NodeProto> IntegerProduct(const LinearToEmit& linear,
                                                          TensorSink& alone);

/// DequantizeLinear of 32-bit codes of what is added to the product, in steps of the product of
/// both scales: rounded to nearest, so each is off by half a step at most. ONNX Runtime makes a
/// Gemm of a MatMul and an Add wherever it finds two dimensions, or no open one, and fuses a Gemm
/// with such addends only. Nothing where 32 bits, the largest sum of products included, cannot hold
/// them.
[[nodiscard]] EmittedAddend IntegerAddend(const LinearToEmit& linear, std::span<const float> addend,
                                          TensorSink& alone);

}  // namespace ptq
