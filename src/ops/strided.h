// Reading a tensor with arbitrary strides into a contiguous one: what most data movement comes down
// to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ptq/tensor/tensor.h"

namespace ptq {

/// Element (i0, i1 …) of a contiguous result of `shape` is source[offset + Σ i·strides]; in
/// elements.
struct StridedView {
  Shape shape;
  std::vector<int64_t> strides;  ///< 0 repeats, negative reverses
  int64_t offset = 0;
};

/// Bytes of one element. Throws UnsupportedError for strings and packed (4-bit, 2-bit) types.
[[nodiscard]] size_t ElementBytes(DType dtype);

/// `source` read through `view`, as an owned contiguous tensor of `view.shape`.
[[nodiscard]] Tensor Materialize(const Tensor& source, const StridedView& view);

/// The axes of `source` reordered: axis i of the result is axis `perm[i]` of the source.
[[nodiscard]] Tensor TransposeAxes(const Tensor& source, const Shape& perm);

/// Copies `rows` runs of `row_bytes`, each `…_stride` bytes after the one before.
void CopyRows(std::byte* to, int64_t to_stride, const std::byte* from, int64_t from_stride,
              int64_t row_bytes, int64_t rows);

/// Calls `visit` with a null pointer to the unsigned integer type of `bytes` bytes (1, 2, 4 or 8),
/// so that one loop per width moves elements of every type.
template <class Visitor>
void VisitWidth(size_t bytes, Visitor&& visit) {
  switch (bytes) {
    case 1: return visit(static_cast<uint8_t*>(nullptr));
    case 2: return visit(static_cast<uint16_t*>(nullptr));
    case 4: return visit(static_cast<uint32_t*>(nullptr));
    case 8: return visit(static_cast<uint64_t*>(nullptr));
    default: throw UnsupportedError("elements of " + std::to_string(bytes) + " bytes");
  }
}

}  // namespace ptq
