// Levels of a codebook against their definition: values, nearest ones, neighbours.
#include "ptq/quant/levels.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ptq/base/error.h"
#include "ptq/quant/spec.h"

namespace ptq {
namespace {

using ::testing::ElementsAre;

/// The code whose value is closest, tried one by one.
int NaiveNearest(const Levels& levels, double x) {
  int best = 0;
  for (int code = 1; code < levels.count(); ++code) {
    const double own = std::abs(x - double(levels.value(code)));
    if (own < std::abs(x - double(levels.value(best)))) best = code;
  }
  return best;
}

TEST(Levels, AreSortedAndEqualValuesAreOne) {
  const Levels levels("some", std::vector<float>{0.0f, 2.0f, -1.0f, -0.0f, 2.0f});
  EXPECT_EQ(levels.count(), 3);
  EXPECT_EQ(levels.value(0), -1.0f);
  EXPECT_EQ(levels.value(1), 0.0f);
  EXPECT_EQ(levels.value(2), 2.0f);
  EXPECT_EQ(levels.largest(), 2.0f);
  EXPECT_EQ(levels.name(), "some");
}

TEST(Levels, RefusesCodebooksThatNoScaleCanStretch) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const std::vector<float>& values :
       {std::vector<float>{}, {0.0f, 0.0f}, {1.0f, kInfinity}, std::vector<float>(17)}) {
    std::vector<float> distinct = values;
    for (size_t i = 0; distinct.size() > 16 && i < distinct.size(); ++i) distinct[i] = float(i);
    EXPECT_THROW(Levels("bad", distinct), InternalError);
  }
}

TEST(Levels, OfBitsandbytesHaveItsValues) {
  const Levels& nf4 = Nf4Levels();
  EXPECT_EQ(nf4.count(), 16);
  EXPECT_EQ(nf4.value(0), -1.0f);
  EXPECT_EQ(nf4.value(7), 0.0f);
  EXPECT_EQ(nf4.value(8), 0.07958029955625534f);
  EXPECT_EQ(nf4.value(15), 1.0f);
  const Levels& fp4 = Fp4Levels();
  EXPECT_EQ(fp4.count(), 15);  // both zeros are one
  EXPECT_EQ(fp4.value(7), 0.0f);
  EXPECT_EQ(fp4.value(8), 1.0f / 192);
  for (int code = 0; code < 15; ++code) EXPECT_EQ(fp4.value(code), -fp4.value(14 - code));
  EXPECT_EQ(FindLevels("nf4"), &nf4);
  EXPECT_EQ(FindLevels("fp4"), &fp4);
  EXPECT_EQ(FindLevels("matmulnbits"), nullptr);
}

TEST(Levels, NearestIsTheClosestValueOneByOneAndManyAtOnce) {
  std::mt19937 random(3);
  const std::vector<float> few = {-3.0f, 0.5f, 0.75f};
  for (const Levels& levels : {Nf4Levels(), Fp4Levels(), Levels("few", few)}) {
    std::normal_distribution<float> normal(0.0f, levels.largest());
    std::vector<float> w(1003);
    for (float& value : w) value = normal(random);
    for (int code = 0; code < levels.count(); ++code) w[size_t(code)] = levels.value(code);
    for (const float scale : {1.0f, 0.37f, -0.81f, 1e-30f, 1e30f}) {
      std::vector<float> scaled = w, values(w.size());
      for (float& value : scaled) value *= scale;
      std::vector<uint8_t> codes(w.size());
      levels.Nearest(scaled.data(), int64_t(w.size()), scale, codes.data());
      levels.NearestValues(scaled.data(), int64_t(w.size()), scale, values.data());
      for (size_t i = 0; i < w.size(); ++i) {
        const float x = scaled[i] / scale;
        const int nearest = NaiveNearest(levels, double(x));
        const double best = std::abs(double(x) - double(levels.value(nearest)));
        ASSERT_NEAR(std::abs(double(x) - double(values[i])), best, 1e-7) << x;
        ASSERT_EQ(levels.value(codes[i]), values[i]) << x;
        ASSERT_EQ(levels.Nearest(x), codes[i]) << x;
      }
    }
  }
}

TEST(Levels, AreReachedAtTheirEndsFromAnywhereBeyond) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const Levels& levels : {Nf4Levels(), Fp4Levels()}) {
    EXPECT_EQ(levels.Nearest(-kInfinity), 0);
    EXPECT_EQ(levels.Nearest(kInfinity), levels.count() - 1);
    EXPECT_EQ(levels.Below(-7.0f), 0);
    EXPECT_EQ(levels.Below(7.0f), levels.count() - 1);
  }
}

TEST(Levels, TheLevelBelowAndTheNextEncloseAValue) {
  for (const Levels& levels : {Nf4Levels(), Fp4Levels()}) {
    for (int code = 0; code + 1 < levels.count(); ++code) {
      const float low = levels.value(code);
      const float high = levels.value(code + 1);
      EXPECT_EQ(levels.Below(low), code);
      EXPECT_EQ(levels.Below(0.5f * (low + high)), code);
      EXPECT_EQ(levels.Below(std::nextafter(high, -2.0f)), code);
    }
  }
}

TEST(QuantizedMatrix, LooksTheLevelsOfACodebookUp) {
  const Levels levels("some", std::vector<float>{-1.0f, 0.0f, 0.25f, 2.0f});
  QuantSpec spec;
  spec.group_size = 2;
  spec.codebook = &levels;
  QuantizedMatrix q(spec, 2, 3);
  q.codes = {0, 3, 2, 1, 2, 3};
  q.scales = {2.0f, -4.0f, 1.0f, 0.5f};
  std::vector<float> w(6);
  q.Dequantize(w.data());
  EXPECT_THAT(w, ElementsAre(-2.0f, 4.0f, -1.0f, 0.0f, 0.25f, 1.0f));
  EXPECT_EQ(spec.levels(), 4);
  EXPECT_EQ(spec.Level(2, 0), 0.25f);
}

}  // namespace
}  // namespace ptq
