// Turns operators on quantized weights into the float operators that they stand for.
#pragma once

#include <memory>
#include <vector>

#include "quantized_weight.h"
#include <onnx/onnx_pb.h>

#include "ptq/model/model.h"

namespace ptq {

/// What of a model is quantized. Weights count, not activations: a DequantizeLinear of anything but
/// stored codes of two or more dimensions is none of them, nor is one of a bias.
[[nodiscard]] QuantizedWeights FindQuantizedWeights(onnx::ModelProto& model);

/// Rewrites the model: MatMulNBits becomes MatMul and so on, in subgraphs, too. Each weight becomes
/// one initializer of the main graph whose data are external under the key kQuantizedKey, with the
/// index into what is returned; equal codes give one initializer. `weights` reads small constants.
/// `float_activations`: QuantizeLinear and DequantizeLinear behind each other go, too.
/// Throws UnsupportedError for an operator whose weight cannot be told from what surrounds it.
[[nodiscard]] std::vector<std::shared_ptr<const QuantizedWeight>> DequantizeWeights(
    onnx::ModelProto& model, const WeightReader& weights, bool float_activations = false);

inline constexpr char kQuantizedKey[] = "quantized";

}  // namespace ptq
