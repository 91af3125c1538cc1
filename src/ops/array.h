// Arrays over tensor memory, element type dispatch and in-place results, shared by the kernels.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <string>

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"
#include "ptq/ops/kernel.h"
#include "ptq/tensor/tensor.h"

namespace ptq {

template <class T>
using ArrayMap = Eigen::Map<Eigen::Array<T, Eigen::Dynamic, 1>>;
template <class T>
using ConstArrayMap = Eigen::Map<const Eigen::Array<T, Eigen::Dynamic, 1>>;

/// Elements in one task of an elementwise loop: below this a loop stays on one thread.
inline constexpr int64_t kElementTile = 32768;

/// Calls `visit` with a value of the element type when it is one of `Types`, else throws.
template <class... Types, class Visitor>
void VisitTypes(DType dtype, Visitor&& visit) {
  const bool found = ((dtype == kDTypeOf<Types> ? (visit(Types{}), true) : false) || ...);
  if (!found) {
    throw UnsupportedError("element type " + std::string(DTypeName(dtype)) +
                           " is not supported here");
  }
}

template <class Visitor>
void VisitInteger(DType dtype, Visitor&& visit) {
  VisitTypes<int64_t, int32_t, uint8_t, int8_t, uint16_t, int16_t, uint32_t, uint64_t>(
      dtype, std::forward<Visitor>(visit));
}

/// float32 and every integer type.
template <class Visitor>
void VisitNumber(DType dtype, Visitor&& visit) {
  VisitTypes<float, int64_t, int32_t, uint8_t, int8_t, uint16_t, int16_t, uint32_t, uint64_t>(
      dtype, std::forward<Visitor>(visit));
}

/// A tensor for the result: input i's own memory when nobody else needs it and it fits, else new
/// and uninitialised. Pointers to the input's elements taken before stay valid, its Tensor does
/// not.
[[nodiscard]] inline Tensor ReuseInput(KernelContext& context, size_t i, DType dtype,
                                       const Shape& shape) {
  const Tensor& input = context.input(i);
  if (input.IsUnique() && input.dtype() == dtype && input.shape() == shape) {
    return context.TakeInput(i);
  }
  return Tensor(dtype, shape);
}

}  // namespace ptq
