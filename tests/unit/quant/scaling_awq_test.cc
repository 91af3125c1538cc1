// The chosen scale against a naive search over all candidates in double.
#include <algorithm>
#include <limits>

#include "quant_testing.h"
#include <gmock/gmock.h>

namespace ptq::testing {
namespace {

/// Inputs of which a few channels are `factor` times louder.
Layer WithOutliers(std::mt19937& random, int64_t k, float factor) {
  Layer layer;
  layer.k = k;
  Values x = Normal(random, 4 * k * k);
  for (size_t i = 0; i < x.size(); ++i) {
    if (i % size_t(k) % 17 == 3) x[i] *= factor;
  }
  layer.Observe(x);
  return layer;
}

/// Every s of the search in double: x^alpha, then x^alpha / w̄^(1 − alpha).
std::vector<Values> NaiveScales(const Layer& layer, bool half) {
  const size_t k = size_t(layer.k);
  std::vector<double> mean(k, 0.0);
  for (size_t i = 0; i < layer.weights.size(); ++i) {
    const int64_t group = layer.specs[i].GroupSizeFor(layer.k);
    for (int64_t r = 0; r < layer.n(i); ++r) {
      for (int64_t j = 0; j < layer.k; ++j) {
        float largest = 0;
        const int64_t begin = j / group * group;
        for (int64_t c = begin; c < std::min(layer.k, begin + group); ++c) {
          largest = std::max(largest, std::abs(layer.weights[i][size_t(r * layer.k + c)]));
        }
        mean[size_t(j)] += std::abs(layer.weights[i][size_t(r * layer.k + j)]) / largest;
      }
    }
  }
  std::vector<Values> scales;
  for (int form = 0; form < 2; ++form) {
    for (int step = 1 - form; step <= 20 - form; ++step) {
      const double alpha = step / 20.0;
      std::vector<double> s(k);
      for (size_t j = 0; j < k; ++j) {
        s[j] = std::pow(double(layer.mean_abs[j]), alpha);
        if (form == 1) s[j] /= std::pow(mean[j], 1 - alpha);
      }
      const double norm = std::sqrt(*std::ranges::max_element(s) * *std::ranges::min_element(s));
      Values stored(k);
      for (size_t j = 0; j < k; ++j) {
        stored[j] = float(s[j] / norm);
        if (half) stored[j] = RoundToHalf(stored[j]);
      }
      scales.push_back(stored);
    }
  }
  return scales;
}

/// Loss of round-to-nearest under s.
double RtnLoss(const Layer& layer, size_t linear, const Values& s) {
  Values w = layer.weights[linear];
  for (size_t i = 0; i < w.size(); ++i) w[i] *= s[i % size_t(layer.k)];
  const QuantizedMatrix q = NaiveRtn(w, layer.k, layer.specs[linear]);
  return NaiveLoss(Effective(q, s), layer.weights[linear], layer.gram, layer.k);
}

TEST(AwqScaling, FindsTheBestOfAllCandidatesByTheNormalisedLoss) {
  std::mt19937 random(21);
  for (const ScaleType type : {ScaleType::kFloat32, ScaleType::kFloat16}) {
    for (const bool symmetric : {true, false}) {
      Layer layer = WithOutliers(random, 51, 8.0f);
      // Of very different size: without normalising, the first would decide alone.
      layer.Add(Normal(random, 20 * 51, 100.0f), Spec(4, 16, symmetric, type));
      layer.Add(Normal(random, 30 * 51, 0.01f), Spec(4, 32, symmetric, type));
      const SiteResult site = QuantizeSite(layer.Problem(), Pieces("awq-duo", "minmax"));
      ASSERT_FALSE(site.scale.empty());
      double energy[2];
      for (size_t i = 0; i < 2; ++i) {
        const std::vector<double> zeros(layer.weights[i].size(), 0.0);
        energy[i] = NaiveLoss(zeros, layer.weights[i], layer.gram, layer.k);
      }
      double best = std::numeric_limits<double>::infinity();
      for (const Values& s : NaiveScales(layer, type == ScaleType::kFloat16)) {
        best = std::min(best, RtnLoss(layer, 0, s) / energy[0] + RtnLoss(layer, 1, s) / energy[1]);
      }
      const double found = site.linears[0].loss / energy[0] + site.linears[1].loss / energy[1];
      EXPECT_NEAR(found, best, 1e-3 * best);
    }
  }
}

TEST(AwqScaling, ProtectsLoudChannels) {
  std::mt19937 random(22);
  Layer layer = WithOutliers(random, 64, 30.0f);
  layer.Add(Normal(random, 200 * 64), Spec(4, 32, true, ScaleType::kFloat16));
  layer.Add(Normal(random, 96 * 64), Spec(4, 32, true, ScaleType::kFloat16));
  const SiteResult site = QuantizeSite(layer.Problem(), MethodFromPreset("awq"));
  ASSERT_EQ(site.scale.size(), 64u);
  EXPECT_TRUE(site.scaling == "awq" || site.scaling == "awq-duo");
  EXPECT_GT(site.scale[3], 2 * site.scale[4]);
  for (const LinearResult& linear : site.linears) {
    EXPECT_LT(linear.loss, 0.5 * linear.loss_rtn);
  }
  for (const float s : site.scale) EXPECT_EQ(s, RoundToHalf(s));
}

TEST(AwqScaling, GivesChannelsOfOneRowOneScale) {
  std::mt19937 random(27);
  Layer layer = WithOutliers(random, 64, 30.0f);
  layer.Add(Normal(random, 200 * 64), Spec(4, 32, true, ScaleType::kFloat16));
  for (int64_t j = 0; j < 64; ++j) layer.row_of_channel.push_back(j / 8 / 2 * 8 + j % 8);
  const SiteResult site = QuantizeSite(layer.Problem(), MethodFromPreset("awq"));
  ASSERT_EQ(site.scale.size(), 64u);
  for (int64_t j = 0; j < 64; j += 16) {
    for (int64_t d = 0; d < 8; ++d) {
      EXPECT_EQ(site.scale[size_t(j + d)], site.scale[size_t(j + 8 + d)]);
    }
  }
  EXPECT_LT(site.linears[0].loss, site.linears[0].loss_rtn);
}

TEST(AwqScaling, IsNotUsedWhereItIsForbiddenOrBlind) {
  std::mt19937 random(23);
  Layer layer = WithOutliers(random, 64, 30.0f);
  layer.Add(Normal(random, 64 * 64), Spec(4, 32, true));
  const Layer good = layer;
  const auto scaling = [&] {
    const SiteResult site = QuantizeSite(layer.Problem(), MethodFromPreset("awq"));
    EXPECT_EQ(site.scale.empty(), site.scaling == "none");
    EXPECT_EQ(site.alpha == 0, site.scale.empty());
    EXPECT_LE(site.linears[0].loss, site.linears[0].loss_rtn);
    EXPECT_TRUE(std::isfinite(site.linears[0].loss));
    return site.scaling;
  };
  EXPECT_NE(scaling(), "none");
  layer.scaling_allowed = false;
  EXPECT_EQ(scaling(), "none");
  layer = good;
  layer.gram.clear();
  EXPECT_EQ(scaling(), "none");
  layer = good;
  layer.mean_abs.clear();
  EXPECT_EQ(scaling(), "none");
  layer = good;
  layer.mean_abs[9] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(scaling(), "none");
  layer = good;
  layer.gram[64 * 9 + 2] = std::nanf("");
  EXPECT_EQ(scaling(), "none");
  layer = good;
  layer.mean_abs.assign(64, 0.0f);
  layer.gram.assign(64 * 64, 0.0f);
  EXPECT_EQ(scaling(), "none");
  layer = good;
  layer.scale_min = layer.scale_max;
  EXPECT_EQ(scaling(), "none");
}

TEST(AwqScaling, IsNotUsedWhereNothingIsLostWithoutIt) {
  Layer layer;
  layer.k = 4;
  layer.Observe({1, 0, 0, 0, 3, 0, 0, 0});
  layer.Add({0, 1, 0.3f, 0.7f, 0, 0.2f, 0.4f, 2}, Spec(4, 0, true));
  for (const char* grid : {"minmax", "block"}) {
    const SiteResult site = QuantizeSite(layer.Problem(), Pieces("awq-duo", grid));
    EXPECT_EQ(site.scaling, "none");
    EXPECT_EQ(site.linears[0].loss, 0.0);
  }
}

TEST(AwqScaling, KeepsDeadChannelsAndZeroColumnsHarmless) {
  std::mt19937 random(24);
  Layer layer;
  layer.k = 48;
  Values x = Normal(random, 200 * 48);
  for (size_t i = 0; i < x.size(); ++i) {
    if (i % 48 == 7) x[i] = 0.0f;
    if (i % 48 == 20) x[i] *= 40.0f;
  }
  layer.Observe(x);
  Values w = Normal(random, 64 * 48);
  for (size_t i = 0; i < w.size(); ++i) {
    if (i % 48 == 11) w[i] = 0.0f;
  }
  layer.Add(w, Spec(4, 16, true));
  const SiteResult site = QuantizeSite(layer.Problem(), MethodFromPreset("awq"));
  ASSERT_FALSE(site.scale.empty());
  const auto [low, high] = std::ranges::minmax(site.scale);
  EXPECT_GE(low, 1e-2f);
  EXPECT_LE(high, 1e2f);
  EXPECT_LT(site.linears[0].loss, 0.5 * site.linears[0].loss_rtn);
}

TEST(AwqScaling, StaysWithinTheBoundsThatAProducerSets) {
  std::mt19937 random(25);
  Layer layer = WithOutliers(random, 64, 100.0f);
  layer.Add(Normal(random, 64 * 64), Spec(4, 32, true));
  layer.scale_min = 0.9f;
  layer.scale_max = 4.0f;
  const SiteResult site = QuantizeSite(layer.Problem(), MethodFromPreset("awq"));
  ASSERT_FALSE(site.scale.empty());
  for (const float s : site.scale) {
    EXPECT_GE(s, 0.9f * (1 - 1e-6f));
    EXPECT_LE(s, 4.0f * (1 + 1e-6f));
  }
}

}  // namespace
}  // namespace ptq::testing
