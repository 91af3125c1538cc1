// The four 8-bit float types of ONNX: their values, and rounding to them.
#pragma once

#include <cstdint>

#include "ptq/tensor/tensor.h"

namespace ptq {

/// They only store: nothing is computed in them, so nothing else knows them.
inline constexpr DType kFloat8E4M3FN{17};
inline constexpr DType kFloat8E4M3FNUZ{18};
inline constexpr DType kFloat8E5M2{19};
inline constexpr DType kFloat8E5M2FNUZ{20};
[[nodiscard]] bool IsFloat8(DType dtype);

/// The elements of a tensor of an 8-bit float type as float32.
[[nodiscard]] Tensor FromFloat8(const Tensor& codes);

/// Float32 elements as the nearest of an 8-bit float type, ties to even. What is too large becomes
/// the largest number when it `saturate`s, otherwise infinity or NaN, whichever the type has.
[[nodiscard]] Tensor ToFloat8(const Tensor& values, DType dtype, bool saturate);

}  // namespace ptq
