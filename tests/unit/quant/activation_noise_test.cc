// What the rounding of activations costs, against a rounding of the activations themselves.
#include "activation_noise.h"

#include <algorithm>
#include <cmath>

#include "random_layer.h"

namespace ptq::testing {
namespace {

constexpr int kLevels = 256;

/// x / s with each element moved to the nearest of the levels, minus x / s.
std::vector<double> RoundingErrors(const Values& x, int64_t k, const Values& s) {
  std::vector<double> values(x.begin(), x.end());
  double lowest = 0, highest = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!s.empty()) values[i] /= double(s[i % size_t(k)]);
    lowest = std::min(lowest, values[i]);
    highest = std::max(highest, values[i]);
  }
  const double step = (highest - lowest) / (kLevels - 1);
  for (double& value : values) value = std::nearbyint(value / step) * step - value;
  return values;
}

TEST(ActivationNoise, IsNothingWhereNothingIsRounded) {
  EXPECT_TRUE(ActivationNoise().none());
  EXPECT_TRUE(ActivationNoise().LossesFor({}).empty());
}

TEST(ActivationNoise, SpacesTheLevelsBetweenTheExtremesOfAllChannels) {
  const Values lowest = {-1, 0, -3}, highest = {2, 8, 0}, s = {0.5f, 4, 1};
  const ActivationNoise noise(lowest, highest, 7, kLevels);
  EXPECT_DOUBLE_EQ(noise.StepFor({}), 11.0 / 255);
  EXPECT_DOUBLE_EQ(noise.StepFor(s), 7.0 / 255);  // 2 / .5 and -3 / 1
  const std::vector<double> losses = noise.LossesFor(s);
  ASSERT_EQ(losses.size(), 3u);
  for (const double loss : losses) EXPECT_DOUBLE_EQ(loss, 7 * 49.0 / 255 / 255 / 12);
}

TEST(ActivationNoise, CountsZeroAmongTheLevels) {
  const Values lowest = {0, 0}, highest = {5, 0};  // all of one channel are 5
  EXPECT_DOUBLE_EQ(ActivationNoise(lowest, highest, 1, 11).StepFor({}), 0.5);
}

TEST(ActivationNoise, PredictsWhatRoundingTheInputsOfARowCosts) {
  std::mt19937 random(71);
  constexpr int64_t kK = 48, kTokens = 3000;
  for (const bool scaled : {false, true}) {
    Layer layer;
    layer.k = kK;
    const Values x = CorrelatedInputs(random, kTokens, kK);
    layer.Observe(x);
    Values s;
    for (int64_t j = 0; scaled && j < kK; ++j) s.push_back(std::sqrt(layer.max_abs[size_t(j)]));
    const Values w = Normal(random, kK), zeros(size_t(kK), 0.0f);
    const std::vector<double> errors = RoundingErrors(x, kK, s);
    double measured = 0;
    for (int64_t t = 0; t < kTokens; ++t) {
      double sum = 0;
      for (int64_t j = 0; j < kK; ++j) {
        const double weight = double(w[size_t(j)]) * (scaled ? double(s[size_t(j)]) : 1.0);
        sum += weight * errors[size_t(t * kK + j)];
      }
      measured += sum * sum;
    }
    const ActivationNoise noise(layer.lowest, layer.highest, kTokens, kLevels);
    double predicted = 0;
    AddNoise(noise.LossesFor(s), w.data(), zeros.data(), 1, kK, s, &predicted);
    EXPECT_NEAR(predicted / measured, 1, 0.1) << "scaled " << scaled;
  }
}

TEST(ActivationNoise, TakesTheErrorsOfEachTokenAndBlock) {
  // Two tokens of five channels; blocks of two have steps of 1, .25 and 1, 2.
  const Values tokens = {127,  3.25f, 0.25f, -31.75f, 127,  //
                         -127, 0.5f,  254,   3,       63.5f};
  const ActivationNoise noise(tokens, 5, 2, 10);
  EXPECT_FALSE(noise.none());
  EXPECT_EQ(noise.ErrorsFor({}), (Values{0, -0.25f, 0, 0, 0, 0, -0.5f, 0, 1, 0}));
  EXPECT_EQ(noise.TokensForEach(), 5);
  const std::vector<double> expected = {0, 5 * (0.0625 + 0.25), 0, 5.0, 0};
  EXPECT_EQ(noise.LossesFor({}), expected);
  // The first channel no longer hides what the second has.
  const Values s = {127, 1, 1, 1, 1};
  EXPECT_NEAR(noise.ErrorsFor(s)[1], 0, 1e-6);
  EXPECT_LT(noise.LossesFor(s)[1], 1e-4);
}

TEST(AddNoise, MultipliesWithTheSquaresOfTheScaledRow) {
  const std::vector<double> one(3, 1.0), two(3, 2.0), each = {1, 10, 100};
  const Values w = {1, 2, 3, -4, 5, 6}, delta = {0.5f, 0, -1, 0, 0, 0}, s = {2, 1, 0.5f};
  double losses[2] = {10, 20};
  AddNoise(two, w.data(), delta.data(), 2, 3, s, losses);
  EXPECT_DOUBLE_EQ(losses[0], 10 + 2 * (9 + 4 + 1));
  EXPECT_DOUBLE_EQ(losses[1], 20 + 2 * (64 + 25 + 9));
  double plain = 0;
  AddNoise(one, w.data(), delta.data(), 1, 3, {}, &plain);
  EXPECT_DOUBLE_EQ(plain, 1.5 * 1.5 + 4 + 4);
  AddNoise(each, w.data(), delta.data(), 1, 3, {}, &plain);
  EXPECT_DOUBLE_EQ(plain, 2 * 1.5 * 1.5 + 11 * 4 + 101 * 4);
  AddNoise({}, w.data(), delta.data(), 1, 3, {}, &plain);
  EXPECT_DOUBLE_EQ(plain, 2 * 1.5 * 1.5 + 11 * 4 + 101 * 4);
}

TEST(ProductLoss, SumsTheSquaresOfWhatAllRowsMakeOfTheErrors) {
  std::mt19937 random(74);
  constexpr int64_t kK = 37, kN = 130, kRows = 5;
  for (const float size : {1.0f, 1e30f}) {  // the products of these would leave the range of float
    Layer layer;
    layer.k = kK;
    layer.Add(Normal(random, kN * kK, size), Spec(4, 0, true));
    const SiteResult site = QuantizeSite(layer.Problem(), MethodFromPreset("rtn"));
    const QuantizedMatrix& q = site.linears[0].q;
    const Values errors = Normal(random, kRows * kK);
    Values w(size_t(kN * kK));
    q.Dequantize(w.data());
    double expected = 0;
    for (int64_t t = 0; t < kRows; ++t) {
      for (int64_t n = 0; n < kN; ++n) {
        double output = 0;
        for (int64_t j = 0; j < kK; ++j) {
          output += double(w[size_t(n * kK + j)]) * double(errors[size_t(t * kK + j)]);
        }
        expected += output * output;
      }
    }
    EXPECT_NEAR(ProductLoss(q, errors) / expected, 1, 1e-5) << size;
  }
}

/// tr(Δ H Δᵀ) + tokens · variance · ‖Q(W·diag(s))‖², in double.
double LossWithNoise(const Layer& layer, const LinearResult& result, const Values& s,
                     size_t linear) {
  const std::vector<double> noise = layer.Noise().LossesFor(s);
  const auto k = size_t(layer.k);
  std::vector<float> written(layer.weights[linear].size());
  result.q.Dequantize(written.data());
  double loss = 0;
  for (size_t begin = 0; begin < written.size(); begin += k) {
    std::vector<double> delta(k);
    for (size_t j = 0; j < k; ++j) {
      const double value = double(written[begin + j]);
      loss += noise[j] * value * value;
      delta[j] =
          (s.empty() ? value : value / double(s[j])) - double(layer.weights[linear][begin + j]);
    }
    for (size_t i = 0; i < k; ++i) {
      for (size_t j = 0; j < k; ++j) {
        loss += delta[i] * double(layer.gram[std::max(i, j) * k + std::min(i, j)]) * delta[j];
      }
    }
  }
  return loss;
}

TEST(QuantizeSite, CountsTheNoiseOfActivationsInItsLosses) {
  std::mt19937 random(72);
  Layer layer;
  layer.k = 33;
  layer.tokens = 400;
  layer.activation_levels = kLevels;
  Values x = CorrelatedInputs(random, layer.tokens, layer.k);
  for (int64_t t = 0; t < layer.tokens; ++t) x[size_t(t * layer.k + 5)] *= 60.0f;
  layer.Observe(x);
  layer.Add(Normal(random, 20 * layer.k, 0.1f), Spec(8, 0, false));
  layer.Add(Normal(random, 7 * layer.k, 0.3f), Spec(8, 0, true));
  for (const char* name : {"rtn", "int8", "gptq", "best"}) {
    const SiteResult site = QuantizeSite(layer.Problem(), MethodFromPreset(name));
    for (size_t i = 0; i < 2; ++i) {
      const double expected = LossWithNoise(layer, site.linears[i], site.scale, i);
      EXPECT_NEAR(site.linears[i].loss / expected, 1, 1e-3) << name << ", linear " << i;
    }
    // Levels for one channel of sixty times the size leave the others next to nothing.
    if (std::string(name) != "int8") continue;
    EXPECT_EQ(site.scaling, "smooth");
    EXPECT_LT(site.linears[0].loss, 0.1 * site.linears[0].loss_rtn);
  }
}

TEST(QuantizeSite, RefusesRoundedActivationsOfUnknownRange) {
  std::mt19937 random(73);
  Layer layer;
  layer.k = 4;
  layer.Observe(Normal(random, 40));
  layer.Add(Normal(random, 8), Spec(8, 0, true));
  layer.activation_levels = kLevels;
  layer.lowest.clear();
  EXPECT_THROW((void)QuantizeSite(layer.Problem(), MethodFromPreset("rtn")), InternalError);
}

}  // namespace
}  // namespace ptq::testing
