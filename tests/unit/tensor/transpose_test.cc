#include "ptq/tensor/transpose.h"

#include <vector>

#include <gtest/gtest.h>

#include "ptq/base/parallel.h"

namespace ptq {
namespace {

TEST(TransposeMatrix, MovesEveryElementToItsPlace) {
  const ThreadLimit threads(2);
  for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {1, 70}, {70, 1}, {33, 65}, {130, 97}, {0, 5}, {5, 0}}) {
    std::vector<float> from(static_cast<size_t>(rows * cols));
    for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i);
    std::vector<float> to(from.size(), -1.0f);
    TransposeMatrix(from.data(), rows, cols, to.data());
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        ASSERT_EQ(to[static_cast<size_t>(c * rows + r)], from[static_cast<size_t>(r * cols + c)])
            << rows << " x " << cols << ": " << r << ", " << c;
      }
    }
  }
}

}  // namespace
}  // namespace ptq
