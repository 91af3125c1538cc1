// Keys and values of past tokens stored as 8- or 4-bit codes with fixed scales.
#pragma once

#include <cstdint>
#include <vector>

#include "ptq/tensor/tensor.h"

namespace ptq {

/// Floats [B, H, T, D] of int8 codes [B, H, T, D], or of uint8 [B, H, T, D / 2] with two 4-bit
/// codes plus 8 in a byte, the first of them low. `scale` holds one value or H · D. Throws
/// InputError when something does not fit.
[[nodiscard]] Tensor DequantizeCache(const Tensor& codes, const Tensor& scale, int bits);

/// The other way round: to the nearest code. Of sequence b the first `rows[b]` tokens count; the
/// bytes of the others are zero.
[[nodiscard]] Tensor QuantizeCache(const Tensor& values, const Shape& rows, const Tensor& scale,
                                   int bits);

}  // namespace ptq
