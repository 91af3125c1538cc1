// The rows of a stored matrix as float32, made when they are asked for.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ptq/tensor/tensor.h"

namespace ptq {

/// W[rows, cols] behind a tensor of any float type that holds it, or its transpose. A matrix is
/// never held as float32 as a whole unless it is stored so.
class MatrixRows {
 public:
  MatrixRows() = default;
  /// `stored`: [rows, cols], or [cols, rows] when `transposed`. Throws InputError for another rank
  /// or a type that is not float32, binary16 or bfloat16.
  MatrixRows(Tensor stored, bool transposed);
  /// Row-major values that outlive this.
  MatrixRows(std::span<const float> values, int64_t cols);

  [[nodiscard]] int64_t rows() const { return rows_; }
  [[nodiscard]] int64_t cols() const { return cols_; }
  /// Rows [begin, end), row-major: the stored ones when they are float32 in this order, otherwise
  /// in `buffer`, which grows as needed. Thread-safe.
  [[nodiscard]] const float* Get(int64_t begin, int64_t end, std::vector<float>& buffer) const;

 private:
  Tensor stored_;
  bool transposed_ = false;
  int64_t rows_ = 0;
  int64_t cols_ = 0;
};

}  // namespace ptq
