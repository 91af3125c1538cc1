#include "ptq/tensor/matrix_rows.h"

#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace ptq {
namespace {

/// Small integers: exact in every type.
float Element(int64_t row, int64_t col) { return static_cast<float>((row * 7 + col * 3) % 101); }

TEST(MatrixRows, GivesTheSameRowsForEveryTypeAndOrder) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    for (const bool transposed : {false, true}) {
      for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{
               {1, 1}, {3, 70}, {40, 33}, {64, 64}, {100, 300}, {33, 257}}) {
        Tensor values(DType::kFloat32, transposed ? Shape{cols, rows} : Shape{rows, cols});
        const auto to = values.mutable_data<float>();
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t c = 0; c < cols; ++c) {
            to[size_t(transposed ? c * rows + r : r * cols + c)] = Element(r, c);
          }
        }
        const MatrixRows matrix(values.Cast(dtype), transposed);
        ASSERT_EQ(matrix.rows(), rows);
        ASSERT_EQ(matrix.cols(), cols);
        std::vector<float> buffer;
        for (const int64_t begin : {int64_t{0}, rows / 3}) {
          const float* got = matrix.Get(begin, rows, buffer);
          for (int64_t r = begin; r < rows; ++r) {
            for (int64_t c = 0; c < cols; ++c) {
              ASSERT_EQ(got[(r - begin) * cols + c], Element(r, c))
                  << DTypeName(dtype) << " " << transposed << " " << r << ", " << c;
            }
          }
        }
      }
    }
  }
}

TEST(MatrixRows, RefusesWhatIsNoFloatMatrix) {
  EXPECT_THROW(MatrixRows(Tensor(DType::kFloat32, {2, 2, 2}), false), InputError);
  EXPECT_THROW(MatrixRows(Tensor(DType::kInt8, {2, 2}), false), InputError);
}

}  // namespace
}  // namespace ptq
