// The rows of a stored matrix as float32, made when they are asked for.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ptq/tensor/tensor.h"

namespace ptq {

/// W[rows, cols] in a tensor of any float type that holds it, or its transpose, or a larger matrix
/// that it is a part of. A matrix is never held as float32 as a whole unless it is stored so.
class MatrixRows {
 public:
  MatrixRows() = default;
  /// `stored`: [rows, cols], or [cols, rows] when `transposed`. Throws InputError for another rank
  /// or a type that is not float32, binary16 or bfloat16.
  MatrixRows(Tensor stored, bool transposed);
  /// Where a part of a tensor lies: its first element, and the elements between the rows that are
  /// stored one behind the other (those of W, or of its transpose).
  struct Part {
    int64_t rows = 0;
    int64_t cols = 0;
    int64_t offset = 0;
    int64_t stride = 0;
    bool transposed = false;
    int64_t stack = 1;  ///< transposed matrices of rows / stack rows each, one behind the other
  };
  /// A part of `stored`, whose own shape does not matter. Throws InputError for another type, and
  /// for a part that does not lie within.
  MatrixRows(Tensor stored, const Part& part);
  /// Row-major values that outlive this.
  MatrixRows(std::span<const float> values, int64_t cols);

  [[nodiscard]] int64_t rows() const { return part_.rows; }
  [[nodiscard]] int64_t cols() const { return part_.cols; }
  /// Rows [begin, end), row-major and close together: the stored ones when they are float32 and lie
  /// so, otherwise in `buffer`, which grows as needed. Thread-safe.
  [[nodiscard]] const float* Get(int64_t begin, int64_t end, std::vector<float>& buffer) const;

 private:
  /// Rows of one matrix of a stack.
  void Fill(int64_t begin, int64_t end, float* to) const;
  Tensor stored_;
  Part part_;
};

}  // namespace ptq
