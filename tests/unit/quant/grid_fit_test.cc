// Grids are found again from nothing but the weights that lie on them, and nowhere else.
#include "ptq/quant/grid_fit.h"

#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ptq/base/half.h"

namespace ptq {
namespace {

/// PTQ_SEED, or one that is always the same.
unsigned Seed() {
  const char* const given = std::getenv("PTQ_SEED");
  const unsigned seed = given != nullptr ? unsigned(std::stoul(given)) : 13U;
  ::testing::Test::RecordProperty("seed", int(seed));
  return seed;
}

/// Codes and scales drawn at random. `full`: each group has both ends of the codes, so that its
/// grid is the only one of these bits.
QuantizedMatrix RandomGrid(const QuantSpec& spec, int64_t n, int64_t k, std::mt19937& random) {
  QuantizedMatrix q(spec, n, k);
  std::uniform_int_distribution<int> code(0, spec.levels() - 1);
  std::lognormal_distribution<float> scale(-4, 1);
  for (uint8_t& value : q.codes) value = uint8_t(code(random));
  for (float& value : q.scales) value = scale(random) * (random() % 2 == 0 ? 1.0F : -1.0F);
  for (uint8_t& value : q.zero_points) value = uint8_t(spec.symmetric ? spec.mid() : code(random));
  const int64_t size = spec.GroupSizeFor(k);
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t first = 0; first < k; first += size) {
      if (std::min(size, k - first) < 4) continue;
      q.codes[size_t(row * k + first)] = 0;
      q.codes[size_t(row * k + first + 1)] = uint8_t(spec.levels() - 1);
      // A multiple of 1: no larger step fits.
      const uint8_t zero = q.zero_points[size_t(row * spec.GroupsFor(k) + first / size)];
      q.codes[size_t(row * k + first + 2)] = uint8_t(zero > 0 ? zero - 1 : zero + 1);
    }
  }
  return q;
}

std::vector<float> FloatsOf(const QuantizedMatrix& q) {
  std::vector<float> floats(q.codes.size());
  q.Dequantize(floats.data());
  return floats;
}

std::string Name(const QuantSpec& spec, int64_t k) {
  return std::to_string(spec.bits) + " bits, groups of " + std::to_string(spec.group_size) +
         (spec.symmetric ? "" : ", asymmetric") + ", K " + std::to_string(k);
}

template <class Visit>
void ForEachSpec(const Visit& visit) {
  for (const int bits : {2, 4, 8}) {
    for (const int64_t group : {0, 16, 32, 64}) {
      for (const bool symmetric : {true, false}) {
        for (const int64_t k : {64, 90}) visit(QuantSpec{bits, group, symmetric}, k);
      }
    }
  }
}

TEST(GridFit, GivesTheFloatsBackBitForBit) {
  std::mt19937 random(Seed());
  ForEachSpec([&](const QuantSpec& spec, int64_t k) {
    const QuantizedMatrix q = RandomGrid(spec, 24, k, random);
    const std::vector<float> w = FloatsOf(q);
    const MatrixRows rows(w, k);
    const auto bits = FindGrids(rows, spec.group_size, 8, nullptr);
    ASSERT_TRUE(bits.has_value()) << Name(spec, k);
    EXPECT_EQ(spec.symmetric ? bits->symmetric.value_or(0) : bits->asymmetric, spec.bits)
        << Name(spec, k);
    const QuantizedMatrix found = CodesOnGrid(rows, spec, nullptr);
    EXPECT_EQ(FloatsOf(found), w) << Name(spec, k);
    if (spec.symmetric && k == 64) {
      EXPECT_EQ(found.codes, q.codes) << Name(spec, k);
    }
  });
}

TEST(GridFit, KeepsCodesAndScalesThatAreKnown) {
  std::mt19937 random(Seed());
  ForEachSpec([&](const QuantSpec& spec, int64_t k) {
    QuantizedMatrix q = RandomGrid(spec, 24, k, random);
    std::fill_n(q.codes.begin(), k, uint8_t(q.zero_points[0]));  // a row of zeros, but for these
    const std::vector<float> w = FloatsOf(q);
    const int64_t groups = spec.GroupsFor(k);
    const KnownGrid known = {spec.bits, [&](int64_t row, int64_t column) {
                               const auto at = size_t(row * groups + column / spec.GroupSizeFor(k));
                               return KnownGrid::Point{q.scales[at], q.zero_points[at]};
                             }};
    const MatrixRows rows(w, k);
    const auto bits = FindGrids(rows, spec.group_size, 8, &known);
    ASSERT_TRUE(bits.has_value()) << Name(spec, k);
    const QuantizedMatrix found = CodesOnGrid(rows, spec, &known);
    EXPECT_EQ(found.codes, q.codes) << Name(spec, k);
    EXPECT_EQ(found.scales, q.scales) << Name(spec, k);
    EXPECT_EQ(found.zero_points, q.zero_points) << Name(spec, k);
    // Groups of the file hold smaller ones, and no larger ones.
    EXPECT_EQ(FindGrids(rows, 0, 8, &known).has_value(), groups == 1) << Name(spec, k);
    EXPECT_EQ(FindGrids(rows, 16, 8, &known).has_value(), spec.group_size % 16 == 0)
        << Name(spec, k);
  });
}

TEST(GridFit, SeesThroughRoundingTo16Bits) {
  std::mt19937 random(Seed());
  for (const bool half : {true, false}) {
    ForEachSpec([&](const QuantSpec& spec, int64_t k) {
      if (!half && spec.bits == 8) return;  // bfloat16 has 8 bits
      const QuantizedMatrix q = RandomGrid(spec, 24, k, random);
      std::vector<float> w = FloatsOf(q);
      const auto round = [&](std::vector<float>& values) {
        for (float& value : values) {
          value = half ? RoundToHalf(value) : ToFloat(ToBFloat16(value));
        }
      };
      round(w);
      const MatrixRows rows(w, k);
      const auto bits = FindGrids(rows, spec.group_size, 8, nullptr);
      ASSERT_TRUE(bits.has_value()) << Name(spec, k) << (half ? ", half" : ", bfloat16");
      std::vector<float> found = FloatsOf(CodesOnGrid(rows, spec, nullptr));
      round(found);
      EXPECT_EQ(found, w) << Name(spec, k) << (half ? ", half" : ", bfloat16");
    });
  }
}

TEST(GridFit, LetsTheArithmeticOfAFrameworkPass) {
  std::mt19937 random(Seed());
  // TensorFlow's: k · step + lowest, both rounded.
  std::vector<float> w(size_t{16} * 64);
  for (size_t row = 0; row < 16; ++row) {
    const float step = std::exp(-4.0F + float(random() % 1000) / 500);
    const float lowest = -step * float(3 + random() % 9);
    for (size_t i = 0; i < 64; ++i) w[row * 64 + i] = float(random() % 16) * step + lowest;
  }
  const auto bits = FindGrids(MatrixRows(w, 64), 0, 8, nullptr);
  ASSERT_TRUE(bits.has_value());
  EXPECT_LE(bits->asymmetric, 4);
}

TEST(GridFit, TakesNothingThatIsOnlyNearAGrid) {
  std::mt19937 random(Seed());
  std::normal_distribution<float> noise;
  ForEachSpec([&](const QuantSpec& spec, int64_t k) {
    const QuantizedMatrix q = RandomGrid(spec, 8, k, random);
    for (const float part : {1e-3F, 1e-2F, 0.1F}) {  // of a step
      for (const bool half : {false, true}) {
        if (half && part < 0.1F) continue;  // less than what binary16 rounds away
        std::vector<float> w = FloatsOf(q);
        for (size_t i = 0; i < w.size(); ++i) {
          const auto at =
              size_t(int64_t(i) / k * spec.GroupsFor(k) + int64_t(i) % k / spec.GroupSizeFor(k));
          w[i] += part * q.scales[at] * noise(random);
          if (half) w[i] = RoundToHalf(w[i]);
        }
        EXPECT_FALSE(FindGrids(MatrixRows(w, k), spec.group_size, 8, nullptr).has_value())
            << Name(spec, k) << ", noise " << part << (half ? ", half" : "");
      }
    }
    // One weight of all is enough.
    std::vector<float> w = FloatsOf(q);
    w[w.size() / 2] += 0.3F * std::abs(q.scales[size_t(4 * spec.GroupsFor(k))]);
    if (spec.bits < 8) {
      const auto bits = FindGrids(MatrixRows(w, k), 0, 8, nullptr);
      EXPECT_FALSE(bits.has_value() && bits->asymmetric <= spec.bits) << Name(spec, k);
    }
  });
}

TEST(GridFit, TakesNoRandomWeights) {
  std::mt19937 random(Seed());
  std::normal_distribution<float> normal(0, 0.05F);
  for (const bool half : {false, true}) {
    std::vector<float> w(size_t{64} * 128);
    for (float& value : w) value = half ? RoundToHalf(normal(random)) : normal(random);
    for (const int64_t group : {0, 16, 32, 128}) {
      EXPECT_FALSE(FindGrids(MatrixRows(w, 128), group, 8, nullptr).has_value()) << group;
    }
  }
}

TEST(GridFit, TellsWhenSignedCodesAreNotEnough) {
  const std::vector<float> w = {0.5F, 1.0F, 1.5F, 2.0F, 7.5F, 0.0F, 3.5F, 0.5F};  // 0 to 15 steps
  const auto bits = FindGrids(MatrixRows(w, 8), 0, 8, nullptr);
  ASSERT_TRUE(bits.has_value());
  EXPECT_EQ(bits->symmetric, 8);
  EXPECT_EQ(bits->asymmetric, 4);
  EXPECT_TRUE(FindGrids(MatrixRows(w, 8), 0, 4, nullptr).has_value());
  EXPECT_FALSE(FindGrids(MatrixRows(w, 8), 0, 2, nullptr).has_value());
}

TEST(GridFit, HoldsZerosAndRefusesWhatIsNoNumber) {
  const std::vector<float> zeros(32, 0.0F);
  const MatrixRows rows(zeros, 16);
  ASSERT_TRUE(FindGrids(rows, 16, 8, nullptr).has_value());
  EXPECT_EQ(FloatsOf(CodesOnGrid(rows, {4, 16, true}, nullptr)), zeros);
  std::vector<float> broken = zeros;
  broken[20] = std::nanf("");
  EXPECT_FALSE(FindGrids(MatrixRows(broken, 16), 16, 8, nullptr).has_value());
}

}  // namespace
}  // namespace ptq
