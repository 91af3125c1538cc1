// A packed attention whose projection multiplies integers: com.microsoft QAttention.
#pragma once

#include <string>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/emit/linear_form.h"

namespace ptq {

/// Whether the linear is the projection of an attention that QAttention can stand for: of FP32,
/// with a bias, heads of one size, and without a cache or a bias of its scores.
[[nodiscard]] bool IsWholeAttention(const LinearToEmit& linear);

/// The node that replaces the attention. `product`: what a MatMulInteger would read: codes of the
/// activation and of the weight [K, N], their zero points; the weight's may be missing. `scales`:
/// of the weight, [N].
[[nodiscard]] onnx::NodeProto QAttentionNode(const LinearToEmit& linear, const RoundedInput& x,
                                             const std::vector<std::string>& product,
                                             const std::string& scales);

}  // namespace ptq
