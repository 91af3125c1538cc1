// Levels of activations by hand, and what falls outside of them.
#include "ptq/tensor/activation_levels.h"

#include <limits>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ptq {
namespace {

using ::testing::ElementsAre;

std::vector<float> Rounded(std::vector<float> values, const ActivationLevels& levels) {
  RoundToLevels(values, levels, values.data());
  return values;
}

TEST(ActivationLevels, SpanARangeThatHoldsZero) {
  const ActivationLevels levels = LevelsBetween(-3, 8);
  EXPECT_FLOAT_EQ(levels.scale, 11.0f / 255);
  EXPECT_EQ(levels.zero_point, 70);  // 3 / (11 / 255) = 69.5
  EXPECT_EQ(LevelsBetween(0, 5).zero_point, 0);
  EXPECT_EQ(LevelsBetween(-5, 0).zero_point, 255);
}

TEST(ActivationLevels, OfSixteenBitsAreTwoHundredAndFiftySevenTimesAsClose) {
  const ActivationLevels levels = LevelsBetween(-3, 8, 16);
  EXPECT_FLOAT_EQ(levels.scale, 11.0f / 65535);
  EXPECT_EQ(levels.zero_point, 17873);  // 3 / (11 / 65535) = 17873.18
  EXPECT_EQ(levels.top(), 65535);
}

TEST(ActivationLevels, AreOneApartWhereThereIsNoRange) {
  EXPECT_EQ(LevelsBetween(0, 0), ActivationLevels());
  EXPECT_EQ(LevelsBetween(0, std::numeric_limits<float>::infinity()).scale, 1);
  EXPECT_EQ(LevelsOf({}), ActivationLevels());
}

TEST(ActivationLevels, CutOffWhatIsOutsideAndRoundHalvesToEven) {
  EXPECT_THAT(Rounded({-9, -1.1f, 0.25f, 0.75f, 1.2f, 999}, {0.5f, 3}),
              ElementsAre(-1.5f, -1, 0, 1, 1, 126));
  EXPECT_THAT(Rounded({-9, 40000}, {0.5f, 3, 16}), ElementsAre(-1.5f, 32766));
}

}  // namespace
}  // namespace ptq
