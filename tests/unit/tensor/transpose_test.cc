// Every element of a part moves, and nothing around it.
#include "ptq/tensor/transpose.h"

#include <vector>

#include <gtest/gtest.h>

namespace ptq {
namespace {

TEST(TransposePart, MovesEveryElementOfAWholeMatrix) {
  for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {1, 70}, {70, 1}, {33, 65}, {130, 97}, {0, 5}, {5, 0}}) {
    std::vector<float> from(static_cast<size_t>(rows * cols));
    for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i);
    std::vector<float> to(from.size(), -1.0f);
    TransposePart(from.data(), cols, rows, cols, to.data(), rows);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        ASSERT_EQ(to[static_cast<size_t>(c * rows + r)], from[static_cast<size_t>(r * cols + c)])
            << rows << " x " << cols << ": " << r << ", " << c;
      }
    }
  }
}

template <class T>
void TestPart() {
  constexpr int64_t kFromStride = 150, kToStride = 140;
  std::vector<T> from(size_t(kFromStride * 140)), to(size_t(kToStride * 150));
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<T>(i * 31 % 251);
  for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {64, 64}, {65, 130}, {128, 64}, {37, 150}, {140, 17}}) {
    to.assign(to.size(), T{0});
    TransposePart(from.data(), kFromStride, rows, cols, to.data(), kToStride);
    for (int64_t r = 0; r < kToStride; ++r) {
      for (int64_t c = 0; c < kFromStride; ++c) {
        const T expected = r < rows && c < cols ? from[size_t(r * kFromStride + c)] : T{0};
        ASSERT_EQ(to[size_t(c * kToStride + r)], expected) << r << ", " << c;
      }
    }
  }
}

TEST(TransposePart, MovesEveryElementAndTouchesNothingElse) {
  TestPart<float>();
  TestPart<uint16_t>();
  TestPart<uint8_t>();
}

}  // namespace
}  // namespace ptq
