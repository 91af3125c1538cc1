// Shapes: row-major dimensions, with the broadcasting rules of the ONNX specification.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace ptq {

/// Dimensions, and lists of integers that files hold beside them: axes, permutations, pads. How
/// many there are is the file's choice, so they are reached through checks: `shape[2]` of a matrix
/// throws InputError, as do the first and the last of none.
class Shape : public std::vector<int64_t> {
 public:
  using std::vector<int64_t>::vector;
  // NOLINTNEXTLINE(google-explicit-constructor): the same integers, from now on checked
  Shape(std::vector<int64_t> values) : std::vector<int64_t>(std::move(values)) {}

  [[nodiscard]] const int64_t& operator[](size_t i) const {
    if (i >= size()) RefusePlace(i);
    return *(begin() + ptrdiff_t(i));
  }
  [[nodiscard]] int64_t& operator[](size_t i) {
    if (i >= size()) RefusePlace(i);
    return *(begin() + ptrdiff_t(i));
  }
  [[nodiscard]] const int64_t& front() const { return (*this)[0]; }
  [[nodiscard]] int64_t& front() { return (*this)[0]; }
  [[nodiscard]] const int64_t& back() const { return (*this)[size() - 1]; }
  [[nodiscard]] int64_t& back() { return (*this)[size() - 1]; }
  void pop_back() { resize(size_t(&back() - data())); }

 private:
  [[noreturn]] void RefusePlace(size_t i) const;
};

/// Product of the dimensions; 1 for a scalar, 0 when any dimension is 0. Throws InputError for more
/// elements than a machine can address, and where a dimension is 0 for others that no tensor has:
/// somebody may go over its 2^40 empty rows.
[[nodiscard]] int64_t NumElements(std::span<const int64_t> shape);
/// Product of dimensions [begin, end). Throws InputError, too, where there are no such dimensions.
[[nodiscard]] int64_t NumElements(std::span<const int64_t> shape, int64_t begin, int64_t end);
/// Whether parts of these lengths, none negative, make up `total`.
[[nodiscard]] bool MakeUp(std::span<const int64_t> lengths, int64_t total);
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
