// Normalisation of the rows of a matrix, shared by every layer-norm-like operator.
#pragma once

#include <cstdint>
#include <memory>

#include "ptq/ops/kernel.h"

namespace ptq {

struct NormSpec {
  bool centered;  ///< subtract the mean (layer norm) or not (root mean square)
  float epsilon;
};

/// A scale or bias: `width` values per row, the same for all rows when row_stride is 0.
struct NormParameter {
  Tensor values;  ///< undefined: absent
  int64_t row_stride = 0;
};

/// `parameter` broadcast to the dimensions of `shape` from `axis`, or to all of it when it varies
/// over the leading dimensions too. Throws InputError when it does not fit.
[[nodiscard]] NormParameter ReadNormParameter(const Tensor& parameter, const Shape& shape,
                                              int64_t axis);

/// to[row] = normalised from[row] · scale (+ bias); `to` may be `from`. `mean` and `deviation` (one
/// value a row, deviation is 1 / sqrt(variance + epsilon)) may be null.
void NormalizeRows(const NormSpec& spec, const float* from, int64_t rows, int64_t width,
                   const NormParameter& scale, const NormParameter& bias, float* to, float* mean,
                   float* deviation);

/// Normalises groups of consecutive channels: X[N, C, …], scale[C], bias[C].
[[nodiscard]] std::unique_ptr<Kernel> MakeGroupNorm(int64_t groups, float epsilon);

}  // namespace ptq
