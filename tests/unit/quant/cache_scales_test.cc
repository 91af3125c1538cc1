// Which scales cached keys and values get, against naive searches.
#include "ptq/quant/cache_scales.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

constexpr int64_t kHeads = 2, kSize = 8;

CacheScaleSpec Spec(int bits, bool per_channel, int64_t rotated = 0) {
  CacheScaleSpec spec;
  spec.heads = kHeads;
  spec.head_size = kSize;
  spec.rotated = rotated;
  spec.bits = bits;
  spec.per_channel = per_channel;
  return spec;
}

/// Two inputs of different lengths; channel c of head h is about 1 + c + 10 h wide.
std::vector<Tensor> Seen(uint32_t seed = 7) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<Tensor> seen;
  for (const int64_t tokens : {40, 300}) {
    Tensor tensor(DType::kFloat32, {1, kHeads, tokens, kSize});
    const auto values = tensor.mutable_data<float>();
    for (size_t i = 0; i < values.size(); ++i) {
      const auto head = float(int64_t(i) / (tokens * kSize));
      values[i] = normal(random) * (1 + float(int64_t(i) % kSize) + 10 * head);
    }
    seen.push_back(std::move(tensor));
  }
  return seen;
}

std::vector<float> Column(const std::vector<Tensor>& seen, int64_t head, int64_t channel) {
  std::vector<float> column;
  for (const Tensor& tensor : seen) {
    for (int64_t t = 0; t < tensor.dim(2); ++t) {
      column.push_back(tensor.data<float>()[size_t((head * tensor.dim(2) + t) * kSize + channel)]);
    }
  }
  return column;
}

float LargestOf(const std::vector<float>& column) {
  float largest = 0;
  for (const float x : column) largest = std::max(largest, std::abs(x));
  return largest;
}

double ErrorOf(const std::vector<float>& column, float scale, double power) {
  double sum = 0;
  for (const float x : column) {
    const float code = std::clamp(std::nearbyint(x / scale), -8.0F, 7.0F);
    sum += std::pow(std::abs(double(x) - double(code * scale)), power);
  }
  return sum;
}

TEST(CacheScales, EightBitsLeaveAMarginOverTheLargestValueOfAChannel) {
  const auto seen = Seen();
  const auto scales = CacheScales(seen, Spec(8, true));
  ASSERT_EQ(scales.size(), size_t(kHeads * kSize));
  for (int64_t i = 0; i < kHeads * kSize; ++i) {
    const float largest = LargestOf(Column(seen, i / kSize, i % kSize));
    EXPECT_FLOAT_EQ(scales[size_t(i)], 1.2F * largest / 128);
  }
}

TEST(CacheScales, OneScaleIsThatOfTheLargestValue) {
  const auto seen = Seen();
  float largest = 0;
  for (int64_t i = 0; i < kHeads * kSize; ++i) {
    largest = std::max(largest, LargestOf(Column(seen, i / kSize, i % kSize)));
  }
  const auto scales = CacheScales(seen, Spec(8, false));
  ASSERT_EQ(scales.size(), 1U);
  EXPECT_FLOAT_EQ(scales[0], largest / 128);
}

TEST(CacheScales, FourBitsHaveNoWorseErrorThanTheLargestValue) {
  const auto seen = Seen();
  for (const bool keys : {false, true}) {
    CacheScaleSpec spec = Spec(4, true);
    spec.keys = keys;
    const auto scales = CacheScales(seen, spec);
    for (int64_t i = 0; i < kHeads * kSize; ++i) {
      const auto column = Column(seen, i / kSize, i % kSize);
      const float largest = LargestOf(column) / 8;
      const double own = ErrorOf(column, scales[size_t(i)], keys ? 4 : 2);
      for (const float part : {0.5F, 0.6F, 0.7F, 0.8F, 0.9F, 1.0F}) {
        EXPECT_LE(own, 1.02 * ErrorOf(column, part * largest, keys ? 4 : 2)) << i << " " << part;
      }
    }
  }
}

/// Channels in pairs, i and i + rotated / 2, or 2i and 2i + 1.
TEST(CacheScales, APairThatTurnsCountsWithItsLength) {
  const auto seen = Seen();
  for (const bool interleaved : {false, true}) {
    CacheScaleSpec spec = Spec(8, true, /*rotated=*/4);
    spec.interleaved = interleaved;
    const auto scales = CacheScales(seen, spec);
    for (int64_t channel = 0; channel < kSize; ++channel) {
      const auto own = Column(seen, 1, channel);
      if (channel >= 4) {
        EXPECT_FLOAT_EQ(scales[size_t(kSize + channel)], 1.2F * LargestOf(own) / 128);
        continue;
      }
      const int64_t partner = interleaved ? channel ^ 1 : (channel + 2) % 4;
      const auto other = Column(seen, 1, partner);
      float length = 0;
      for (size_t i = 0; i < own.size(); ++i) {
        length = std::max(length, std::hypot(own[i], other[i]));
      }
      EXPECT_FLOAT_EQ(scales[size_t(kSize + channel)], length / 128);
      EXPECT_FLOAT_EQ(scales[size_t(kSize + partner)], length / 128);
    }
  }
}

/// What is seen of one position holds for a quarter turn more, where the channels have changed
/// places.
TEST(CacheScales, TurnsOfFourBitsAreThoseOfThePositions) {
  Tensor tensor(DType::kFloat32, {1, 1, 64, 2});
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  const auto values = tensor.mutable_data<float>();
  for (size_t i = 0; i < values.size(); ++i) values[i] = normal(random) * (i % 2 == 0 ? 10 : 1);
  CacheScaleSpec spec;
  spec.heads = 1;
  spec.head_size = spec.rotated = 2;
  spec.bits = 4;
  spec.turns = {{0.0F}};
  const auto still = CacheScales(std::vector{tensor}, spec);
  EXPECT_GT(still[0], 1.5F * still[1]);
  spec.turns = {{1.5707964F}};
  const auto turned = CacheScales(std::vector{tensor}, spec);
  EXPECT_GT(turned[1], 1.5F * turned[0]);
}

TEST(CacheScales, ChannelsThatAreAlwaysZeroGetTheLargestScale) {
  Tensor tensor = Tensor::Filled<float>({1, 1, 3, 2}, 0.0F);
  for (int64_t t = 0; t < 3; ++t) tensor.mutable_data<float>()[size_t(2 * t)] = float(t);
  CacheScaleSpec spec;
  spec.heads = 1;
  spec.head_size = 2;
  const auto scales = CacheScales(std::vector{tensor}, spec);
  EXPECT_FLOAT_EQ(scales[1], scales[0]);
}

TEST(CacheScales, RefusesWhatIsNoNumberOrOfAnotherShape) {
  auto seen = Seen();
  seen[1].mutable_data<float>()[5] = std::numeric_limits<float>::infinity();
  EXPECT_THROW((void)CacheScales(seen, Spec(8, true)), InputError);
  const std::vector<Tensor> zeros = {Tensor::Filled<float>({1, kHeads, 2, kSize}, 0.0F)};
  EXPECT_THROW((void)CacheScales(zeros, Spec(8, true)), InputError);
  CacheScaleSpec other = Spec(8, true);
  other.heads = 3;
  EXPECT_THROW((void)CacheScales(Seen(), other), InputError);
}

}  // namespace
}  // namespace ptq
