// Reading index tensors: any integer type, negative values counted from the end.
#pragma once

#include <cstdint>
#include <vector>

#include "ptq/tensor/tensor.h"

namespace ptq {

/// `index` in [-length, length) as one in [0, length). Throws InputError.
[[nodiscard]] int64_t NormalizeIndex(int64_t index, int64_t length);

/// All elements of `indices`, each in [0, length).
[[nodiscard]] std::vector<int64_t> NormalIndices(const Tensor& indices, int64_t length);

/// Where GatherElements and ScatterElements look: for each element of `indices`, the offset of the
/// element of `shape` at the same coordinates, but for the one along `axis`, which it gives.
[[nodiscard]] std::vector<int64_t> ElementOffsets(const Tensor& indices, const Shape& shape,
                                                  int64_t axis);

/// Where GatherND and ScatterND look: for each tuple `indices[…, :]`, the offset of the block of
/// `shape` that it names along the axes after the first `batch_dims`, which both tensors have in
/// common.
[[nodiscard]] std::vector<int64_t> TupleOffsets(const Tensor& indices, const Shape& shape,
                                                int64_t batch_dims);

}  // namespace ptq
