// Gives subgraphs the constants of their DequantizeLinear nodes.
#pragma once

#include "tensor_store.h"
#include <onnx/onnx_pb.h>

namespace ptq {

/// Adds to each subgraph a copy, under a name of its own, of every tensor of `store` that a
/// DequantizeLinear in it reads: ONNX Runtime (1.31) fuses that operator with the product behind
/// it, and refuses the model when it does not find the codes in the same graph. Copies refer to the
/// same bytes of the data file.
void LocalizeConstants(onnx::GraphProto& main, TensorStore& store);

}  // namespace ptq
