// The same rows from every type, order and part.
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

TEST(MatrixRows, ReadsPartsAndStacks) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    Tensor values(DType::kFloat32, {4 * 6 * 10});  // small integers: exact in every type
    for (int64_t i = 0; i < values.size(); ++i) values.mutable_data<float>()[i] = float(i);
    const Tensor stored = values.Cast(dtype);
    std::vector<float> buffer;
    // Columns 3 to 7 of rows 2 to 5 of a matrix [24, 10].
    const MatrixRows part(stored, {4, 5, 23, 10, false});
    const float* got = part.Get(1, 4, buffer);
    for (int64_t r = 0; r < 3; ++r) {
      for (int64_t c = 0; c < 5; ++c) ASSERT_EQ(got[r * 5 + c], float(33 + r * 10 + c));
    }
    // The same, as the transpose of what is asked for.
    const MatrixRows turned(stored, {5, 4, 23, 10, true});
    got = turned.Get(2, 5, buffer);
    for (int64_t r = 0; r < 3; ++r) {
      for (int64_t c = 0; c < 4; ++c) ASSERT_EQ(got[r * 4 + c], float(25 + r + c * 10));
    }
    // Four matrices [6, 10], each the transpose of rows 10 e to 10 e + 9.
    const MatrixRows stack(stored, {40, 6, 0, 10, true, 4});
    got = stack.Get(7, 34, buffer);
    for (int64_t r = 7; r < 34; ++r) {
      for (int64_t c = 0; c < 6; ++c) {
        ASSERT_EQ(got[(r - 7) * 6 + c], float(r / 10 * 60 + c * 10 + r % 10)) << r << ", " << c;
      }
    }
  }
}

TEST(MatrixRows, RefusesAPartOutsideTheTensor) {
  const Tensor stored(DType::kFloat32, {4, 6});
  EXPECT_NO_THROW(MatrixRows(stored, {4, 6, 0, 6, false}));
  EXPECT_THROW(MatrixRows(stored, {4, 6, 1, 6, false}), InputError);
  EXPECT_THROW(MatrixRows(stored, {6, 4, 1, 6, true}), InputError);
  EXPECT_THROW(MatrixRows(stored, {12, 4, 0, 6, true, 2}), InputError);
}

TEST(MatrixRows, RefusesWhatIsNoFloatMatrix) {
  EXPECT_THROW(MatrixRows(Tensor(DType::kFloat32, {2, 2, 2}), false), InputError);
  EXPECT_THROW(MatrixRows(Tensor(DType::kInt8, {2, 2}), false), InputError);
}

}  // namespace
}  // namespace ptq
