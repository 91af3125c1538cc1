// Batched matrix products of tensors: the shapes, and the choice between one large product and
// many.
#pragma once

#include "ptq/tensor/tensor.h"

namespace ptq {

/// What a product does besides multiplying; the defaults are those of ai.onnx MatMul.
struct MatMulOptions {
  float alpha = 1.0f;
  bool transpose_a = false;  ///< of the last two dimensions; ignored for one-dimensional operands
  bool transpose_b = false;
  /// The first dimension moves behind the batch dimensions before anything else: [M, …, K] is read
  /// as […, M, K] (com.microsoft FusedMatMul).
  bool first_is_row_a = false;
  bool first_is_row_b = false;
};

/// NumPy's matmul of float32 tensors: batch dimensions broadcast, a one-dimensional `a` is a row
/// and a one-dimensional `b` a column. Throws InputError when the shapes do not fit.
[[nodiscard]] Tensor MatMul(const Tensor& a, const Tensor& b, const MatMulOptions& options = {});

/// The product of two float32 tensors that hold integers of magnitude up to 255, as exact int32.
[[nodiscard]] Tensor ExactMatMul(const Tensor& a, const Tensor& b);

/// NumPy's matmul of two integer tensors, accumulated and returned as T (int32_t, int64_t, uint32_t
/// or uint64_t). A plain loop: meant for shape arithmetic.
template <class T>
[[nodiscard]] Tensor IntegerMatMul(const Tensor& a, const Tensor& b);

}  // namespace ptq
