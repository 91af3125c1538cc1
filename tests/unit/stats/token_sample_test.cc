// The sample depends on the tokens alone, not on how they came, and every token is as likely.
#include "ptq/stats/token_sample.h"

#include <array>
#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

constexpr int64_t kWidth = 3;

/// `rows` tokens, of which each tells its part and place.
std::vector<float> Part(float name, int64_t rows) {
  std::vector<float> part;
  for (int64_t row = 0; row < rows; ++row) {
    part.insert(part.end(), {name, float(row), name * 1000 + float(row)});
  }
  return part;
}

void AddPart(TokenSample& sample, uint64_t name, int64_t rows) {
  const std::vector<float> part = Part(float(name), rows);
  const std::span<const float> values = part;
  sample.Add({&values, 1}, {&name, 1});
}

TEST(TokenSample, KeepsAllOfFew) {
  TokenSample sample(kWidth);
  AddPart(sample, 1, 5);
  AddPart(sample, 2, 7);
  ASSERT_EQ(sample.count(), 12);
  std::set<float> seen;
  for (int64_t i = 0; i < 12; ++i) {
    const auto row = sample.rows().subspan(size_t(i * kWidth), size_t(kWidth));
    EXPECT_EQ(row[2], row[0] * 1000 + row[1]) << "a row in one piece";
    seen.insert(row[2]);
  }
  EXPECT_EQ(seen.size(), 12u);
  EXPECT_TRUE(std::ranges::is_sorted(sample.keys()));
}

TEST(TokenSample, IsTheSameInWhateverOrderAndDivisionTheTokensCame) {
  TokenSample all(kWidth), backwards(kWidth), left(kWidth), right(kWidth);
  for (uint64_t name = 1; name <= 20; ++name) AddPart(all, name, 50);
  for (uint64_t name = 20; name >= 1; --name) AddPart(backwards, name, 50);
  for (uint64_t name = 1; name <= 20; ++name) AddPart(name % 3 == 0 ? left : right, name, 50);
  left.Merge(right);
  ASSERT_EQ(all.count(), TokenSample::kMost);
  for (const TokenSample* other : {&backwards, &left}) {
    EXPECT_TRUE(std::ranges::equal(all.keys(), other->keys()));
    EXPECT_TRUE(std::ranges::equal(all.rows(), other->rows()));
  }
}

TEST(TokenSample, DrawsEvenly) {
  TokenSample sample(kWidth);
  for (uint64_t name = 0; name < 64; ++name) AddPart(sample, name * 7919, 400);
  ASSERT_EQ(sample.count(), TokenSample::kMost);
  std::array<int, 4> quarters{};  // of the parts' rows
  for (int64_t i = 0; i < sample.count(); ++i) {
    ++quarters[size_t(sample.rows()[size_t(i * kWidth + 1)] / 100)];
  }
  // 64 each, with a standard deviation of 7.
  for (const int count : quarters) EXPECT_NEAR(count, 64, 28);
}

TEST(TokenSample, MergesWithItselfToItself) {
  TokenSample sample(kWidth);
  AddPart(sample, 1, 9);
  const TokenSample same = sample;
  sample.Merge(same);
  EXPECT_EQ(sample.count(), 9);
}

TEST(TokenSample, RefusesAnotherWidth) {
  TokenSample sample(kWidth);
  EXPECT_THROW(sample.Merge(TokenSample(kWidth + 1)), InternalError);
  EXPECT_THROW(TokenSample(kWidth, {1, 2}, std::vector<float>(5)), InternalError);
}

}  // namespace
}  // namespace ptq
