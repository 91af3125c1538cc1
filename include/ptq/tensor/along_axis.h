// Parts of a tensor along one axis, and tensors joined along one.
#pragma once

#include <span>

#include "ptq/tensor/tensor.h"

namespace ptq {

/// The places [begin, begin + count) of an axis. `axis` in [0, rank), the range within the tensor.
[[nodiscard]] Tensor PartAlong(const Tensor& tensor, int64_t axis, int64_t begin, int64_t count);
/// One place of an axis, without that axis.
[[nodiscard]] Tensor PlaceAlong(const Tensor& tensor, int64_t axis, int64_t place);
/// At least one tensor, all of one type and alike outside `axis`, which may be negative. Throws
/// InputError.
[[nodiscard]] Tensor JoinAlong(std::span<const Tensor> parts, int64_t axis);
/// Tensors of one type and shape, along a new axis. Throws InputError.
[[nodiscard]] Tensor StackAlong(std::span<const Tensor> parts, int64_t axis);

}  // namespace ptq
