// The formats by name, each defined in its own file.
#pragma once

#include "ptq/emit/linear_format.h"

namespace ptq {

/// com.microsoft MatMulNBits (format_matmulnbits.cc).
[[nodiscard]] const LinearFormat& MatMulNBitsFormat();
/// DequantizeLinear in front of MatMul (format_qdq.cc).
[[nodiscard]] const LinearFormat& QdqFormat();

}  // namespace ptq
