// Experts of a MoE node as codes, in the place of MatMulNBits: com.microsoft QMoE.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/emit/linear_form.h"

namespace ptq {

/// Why an expert's W[N, K] cannot have codes of a specification, as the file holds them; empty when
/// it can.
[[nodiscard]] std::string RefusalOfExpert(const TensorFacts& tensor, const QuantSpec& stored);
/// What they take in the file.
[[nodiscard]] int64_t BytesOfExpert(const TensorFacts& tensor, const QuantSpec& stored);
/// The nodes that replace a MoE. All experts have one specification.
[[nodiscard]] std::vector<onnx::NodeProto> QMoeNodes(const ExpertsToEmit& experts,
                                                     TensorSink& sink);

}  // namespace ptq
