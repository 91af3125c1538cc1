// A typed row-major array: owned, or a view of mapped memory. Copies share; writing un-shares.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "ptq/base/error.h"
#include "ptq/tensor/dtype.h"
#include "ptq/tensor/shape.h"

namespace ptq {

class Tensor {
 public:
  Tensor() = default;
  /// Owned and uninitialised. Throws ResourceError when there is no memory for it.
  Tensor(DType dtype, Shape shape);

  /// A view of bytes that `owner` keeps alive. Copies them instead when they are misaligned.
  [[nodiscard]] static Tensor View(DType dtype, Shape shape, std::span<const std::byte> bytes,
                                   std::shared_ptr<const void> owner);
  template <class T>
  [[nodiscard]] static Tensor From(Shape shape, std::span<const T> values) {
    Tensor tensor(kDTypeOf<T>, std::move(shape));
    if (static_cast<size_t>(tensor.size()) != values.size()) {
      throw InternalError("tensor: value count does not match the shape");
    }
    if (!values.empty()) {
      std::memcpy(tensor.mutable_bytes().data(), values.data(), values.size_bytes());
    }
    return tensor;
  }
  template <class T>
  [[nodiscard]] static Tensor From(Shape shape, std::initializer_list<T> values) {
    return From<T>(std::move(shape), std::span<const T>(values.begin(), values.size()));
  }
  template <class T>
  [[nodiscard]] static Tensor Scalar(T value) {
    return From<T>({}, {value});
  }
  template <class T>
  [[nodiscard]] static Tensor Filled(Shape shape, T value) {
    Tensor tensor(kDTypeOf<T>, std::move(shape));
    for (T& x : tensor.mutable_data<T>()) x = value;
    return tensor;
  }

  [[nodiscard]] bool defined() const { return dtype_ != DType::kUndefined; }
  [[nodiscard]] DType dtype() const { return dtype_; }
  [[nodiscard]] const Shape& shape() const { return shape_; }
  [[nodiscard]] int64_t rank() const { return static_cast<int64_t>(shape_.size()); }
  /// Dimension; negative axes count from the end.
  [[nodiscard]] int64_t dim(int64_t axis) const {
    return shape_[static_cast<size_t>(NormalizeAxis(axis, rank()))];
  }
  /// Number of elements.
  [[nodiscard]] int64_t size() const { return size_; }
  [[nodiscard]] std::span<const std::byte> bytes() const {
    return {raw_, static_cast<size_t>(BytesOf(dtype_, size_))};
  }

  /// Elements, row-major. Throws InternalError when T is not the element type.
  template <class T>
  [[nodiscard]] std::span<const T> data() const {
    Require(kDTypeOf<T>);
    return {reinterpret_cast<const T*>(raw_), static_cast<size_t>(size_)};
  }
  /// Writable elements; copies first when the memory is shared or mapped, so no other Tensor sees
  /// it.
  template <class T>
  [[nodiscard]] std::span<T> mutable_data() {
    Require(kDTypeOf<T>);
    MakeUnique();
    return {reinterpret_cast<T*>(const_cast<std::byte*>(raw_)), static_cast<size_t>(size_)};
  }
  [[nodiscard]] std::span<std::byte> mutable_bytes() {
    MakeUnique();
    return {const_cast<std::byte*>(raw_), static_cast<size_t>(BytesOf(dtype_, size_))};
  }
  /// Whether writing in place needs no copy.
  [[nodiscard]] bool IsUnique() const { return owned_ && storage_.use_count() == 1; }

  /// The same elements under another shape. Throws InputError when the counts differ.
  [[nodiscard]] Tensor Reshaped(Shape shape) const;

  /// Float elements of any float type as float32 (shared when they already are).
  [[nodiscard]] Tensor ToFloat32() const;
  /// Floats of any type as float32, as the executor computes; other elements as they are.
  [[nodiscard]] Tensor Widened() const;
  /// Any numeric or bool tensor with its elements cast as ONNX Cast does (float to integer
  /// truncates towards zero). Throws UnsupportedError for strings and packed types.
  [[nodiscard]] Tensor Cast(DType to) const;
  /// Integers of any integer type, as int64. Throws InputError for other types.
  [[nodiscard]] Shape ToInt64s() const;

 private:
  void Require(DType dtype) const;
  void MakeUnique();
  DType dtype_ = DType::kUndefined;
  bool owned_ = false;
  Shape shape_;
  int64_t size_ = 0;
  std::shared_ptr<const void> storage_;
  const std::byte* raw_ = nullptr;
};

}  // namespace ptq
