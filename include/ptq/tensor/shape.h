// Shapes: row-major dimensions, with the broadcasting rules of the ONNX specification.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ptq {

using Shape = std::vector<int64_t>;

/// Product of the dimensions; 1 for a scalar, 0 when any dimension is 0.
[[nodiscard]] int64_t NumElements(std::span<const int64_t> shape);
/// Product of dimensions [begin, end).
[[nodiscard]] int64_t NumElements(std::span<const int64_t> shape, int64_t begin, int64_t end);
/// "[2, 9, 64]".
[[nodiscard]] std::string ToString(std::span<const int64_t> shape);
/// Numpy-style (ONNX "multidirectional") broadcast. Throws InputError when they do not fit.
[[nodiscard]] Shape BroadcastShapes(std::span<const int64_t> a, std::span<const int64_t> b);
/// Elements to step for one step in each dimension.
[[nodiscard]] std::vector<int64_t> RowMajorStrides(std::span<const int64_t> shape);
/// Strides with which `shape` is read as `target`: 0 where it is broadcast.
[[nodiscard]] std::vector<int64_t> BroadcastStrides(std::span<const int64_t> shape,
                                                    std::span<const int64_t> target);
/// `axis` in [-rank, rank) as an index in [0, rank). Throws InputError.
[[nodiscard]] int64_t NormalizeAxis(int64_t axis, int64_t rank);

}  // namespace ptq
