// Elements of constants as binary16.
#pragma once

#include <functional>
#include <span>

#include "ptq/base/half.h"
#include "ptq/tensor/tensor.h"

namespace ptq {

/// Elements of float32 or bfloat16 in FP16; those that are finite and beyond its range come down to
/// its end.
[[nodiscard]] Tensor HalfElements(const Tensor& elements);

/// The same, handed over chunk by chunk.
void ForEachHalfChunk(const Tensor& elements,
                      const std::function<void(std::span<const Half>)>& take);

}  // namespace ptq
