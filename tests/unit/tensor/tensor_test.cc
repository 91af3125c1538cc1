// When tensors share memory, and what casts make of each value.
#include "ptq/tensor/tensor.h"

#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::ElementsAre;

TEST(Tensor, SharesUntilOneCopyIsWritten) {
  Tensor a = Tensor::From<float>({2}, {1, 2});
  Tensor b = a;
  EXPECT_EQ(a.bytes().data(), b.bytes().data());
  EXPECT_FALSE(a.IsUnique());
  b.mutable_data<float>()[0] = 9;
  EXPECT_THAT(a.data<float>(), ElementsAre(1, 2));
  EXPECT_THAT(b.data<float>(), ElementsAre(9, 2));
  EXPECT_TRUE(a.IsUnique());
  const auto* before = a.bytes().data();
  a.mutable_data<float>()[1] = 5;
  EXPECT_EQ(a.bytes().data(), before);
}

TEST(Tensor, DoesNotWriteIntoTheMemoryThatItViews) {
  alignas(8) std::array<float, 2> memory = {1, 2};
  Tensor view = Tensor::View(DType::kFloat32, {2}, std::as_bytes(std::span(memory)), nullptr);
  EXPECT_EQ(static_cast<const void*>(view.bytes().data()), memory.data());
  EXPECT_FALSE(view.IsUnique());
  view.mutable_data<float>()[0] = 7;
  EXPECT_EQ(memory[0], 1);
  EXPECT_THAT(view.data<float>(), ElementsAre(7, 2));
}

TEST(Tensor, KeepsTheOwnerOfAViewAlive) {
  auto memory = std::make_shared<std::array<int32_t, 2>>(std::array<int32_t, 2>{3, 4});
  const Tensor view = Tensor::View(DType::kInt32, {2}, std::as_bytes(std::span(*memory)), memory);
  EXPECT_EQ(memory.use_count(), 2);
  memory.reset();
  EXPECT_THAT(view.data<int32_t>(), ElementsAre(3, 4));
}

TEST(Tensor, CopiesBytesThatAreMisaligned) {
  alignas(8) std::array<std::byte, 16> memory{};
  const std::array<float, 2> values = {1.5f, -2};
  std::memcpy(memory.data() + 1, values.data(), sizeof(values));
  const Tensor view = Tensor::View(DType::kFloat32, {2}, std::span(memory).subspan(1, 8), nullptr);
  memory.fill(std::byte{0xff});
  EXPECT_THAT(view.data<float>(), ElementsAre(1.5f, -2));
}

TEST(Tensor, RefusesTooFewBytesNegativeDimensionsAndOtherTypes) {
  const std::array<std::byte, 7> memory{};
  EXPECT_THROW((void)Tensor::View(DType::kFloat32, {2}, memory, nullptr), InputError);
  EXPECT_THROW(Tensor(DType::kFloat32, {2, -1}), InputError);
  EXPECT_THROW((void)Tensor::Scalar(1.0f).data<int64_t>(), Error);
  EXPECT_THROW((void)Tensor::From<float>({3}, {1, 2}), InternalError);
  EXPECT_THROW((void)Tensor::From<float>({2}, {1, 2}).Reshaped({3}), InputError);
}

TEST(Tensor, CountsPackedElementsInBytes) {
  EXPECT_EQ(Tensor(DType::kUint4, {5}).bytes().size(), 3u);
  EXPECT_EQ(Tensor(DType::kInt2, {5}).bytes().size(), 2u);
}

TEST(Cast, TruncatesAndSaturatesFloats) {
  const float infinity = std::numeric_limits<float>::infinity();
  const Tensor x = Tensor::From<float>({6}, {1.9f, -1.9f, 300, -300, infinity, -infinity});
  EXPECT_THAT(x.Cast(DType::kInt8).data<int8_t>(), ElementsAre(1, -1, 127, -128, 127, -128));
  EXPECT_THAT(x.Cast(DType::kUint8).data<uint8_t>(), ElementsAre(1, 0, 255, 0, 255, 0));
  constexpr int64_t kLow = std::numeric_limits<int64_t>::min();
  constexpr int64_t kHigh = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(x.Cast(DType::kInt64).data<int64_t>(), ElementsAre(1, -1, 300, -300, kHigh, kLow));
}

TEST(Cast, DefinesNotANumber) {
  const Tensor x = Tensor::Scalar(std::nanf(""));
  EXPECT_EQ(x.Cast(DType::kInt32).data<int32_t>()[0], std::numeric_limits<int32_t>::min());
  EXPECT_TRUE(x.Cast(DType::kBool).data<bool>()[0]);
  EXPECT_TRUE(std::isnan(ToFloat(x.Cast(DType::kFloat16).data<Half>()[0])));
}

TEST(Cast, PassesThroughHalfTypes) {
  const Tensor x = Tensor::From<float>({3}, {1.0f, 70000.0f, 2049.0f});
  const Tensor half = x.Cast(DType::kFloat16);
  EXPECT_EQ(half.bytes().size(), 6u);
  const Tensor wide = half.ToFloat32();
  EXPECT_THAT(wide.data<float>(),
              ElementsAre(1.0f, std::numeric_limits<float>::infinity(), 2048.0f));
  EXPECT_THAT(half.Cast(DType::kInt64).data<int64_t>()[2], 2048);
  EXPECT_EQ(x.Cast(DType::kBFloat16).ToFloat32().data<float>()[0], 1.0f);
}

TEST(Cast, SharesWhenTheTypeStays) {
  const Tensor x = Tensor::From<float>({2}, {1, 2});
  EXPECT_EQ(x.ToFloat32().bytes().data(), x.bytes().data());
}

TEST(Cast, RefusesPackedTypes) {
  EXPECT_THROW((void)Tensor(DType::kInt4, {2}).Cast(DType::kFloat32), UnsupportedError);
  EXPECT_THROW((void)Tensor::Scalar(1.0f).ToInt64s(), InputError);
  EXPECT_THROW((void)Tensor::Scalar<int32_t>(1).ToFloat32(), InputError);
}

}  // namespace
}  // namespace ptq
