// Tokens are drawn as often as the softmax says, and none outside the nucleus.
#include "calib/sampling.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "ptq/base/error.h"

namespace ptq {
namespace {

std::vector<double> Frequencies(const std::vector<float>& logits, const SamplingOptions& options) {
  constexpr int kDraws = 20000;
  std::mt19937_64 generator(7);
  std::vector<double> counts(logits.size(), 0);
  for (int i = 0; i < kDraws; ++i) {
    counts[size_t(DrawToken(logits, options, generator))] += 1.0 / kDraws;
  }
  return counts;
}

TEST(DrawToken, FollowsTheSoftmaxAtATemperature) {
  const std::vector<float> logits = {0.0f, std::log(2.0f), std::log(5.0f)};
  const auto plain = Frequencies(logits, {});
  const auto flat = Frequencies(logits, {.temperature = 2});
  const double sum = 1 + std::sqrt(2.0) + std::sqrt(5.0);
  const double powers[] = {1, 2, 5};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(plain[i], powers[i] / 8, 0.015);
    EXPECT_NEAR(flat[i], std::sqrt(powers[i]) / sum, 0.015);
  }
}

TEST(DrawToken, LeavesOutWhatIsBeyondTheNucleus) {
  const std::vector<float> logits = {std::log(1.0f), std::log(5.0f), std::log(4.0f)};
  const auto found = Frequencies(logits, {.top_p = 0.85});  // 0.5 and 0.9 of the mass
  EXPECT_EQ(found[0], 0);
  EXPECT_NEAR(found[1], 5.0 / 9, 0.015);
  EXPECT_NEAR(Frequencies(logits, {.top_p = 0.1})[1], 1, 1e-9);
}

TEST(DrawToken, WithoutTemperatureTakesTheLikeliest) {
  std::mt19937_64 generator(1);
  EXPECT_EQ(DrawToken(std::vector<float>{1, 3, 3}, {.temperature = 0}, generator), 1);
}

TEST(DrawToken, NeverDrawsWhatIsNoNumber) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const auto found = Frequencies({0, -kInfinity, kNan}, {});
  EXPECT_NEAR(found[0], 1, 1e-9);
  std::mt19937_64 generator(1);
  EXPECT_THROW((void)DrawToken(std::vector<float>{kNan}, {}, generator), InputError);
}

}  // namespace
}  // namespace ptq
