// The candidates of SmoothQuant against the formula of its paper.
#include <algorithm>

#include "dense_reference.h"

namespace ptq::testing {
namespace {

Layer WithOutliers(std::mt19937& random) {
  Layer layer;
  layer.k = 48;
  Values x = Normal(random, 300 * 48);
  for (size_t i = 0; i < x.size(); ++i) {
    if (i % 48 % 17 == 3) x[i] *= 30.0f;
  }
  layer.Observe(x);
  layer.Add(Normal(random, 40 * 48), Spec(4, 16, true));
  layer.Add(Normal(random, 24 * 48, 0.1f), Spec(4, 16, true));
  return layer;
}

TEST(SmoothScaling, OffersTheFormOfThePaperForEachAlpha) {
  std::mt19937 random(90);
  const Layer layer = WithOutliers(random);
  const std::vector<ScalingCandidate> candidates = MakeSmoothScaling(layer.Problem());
  ASSERT_EQ(candidates.size(), 13u);
  EXPECT_NEAR(candidates.front().alpha, 0.3, 1e-12);
  EXPECT_NEAR(candidates.back().alpha, 0.9, 1e-12);
  for (const ScalingCandidate& candidate : candidates) {
    std::vector<double> s(48);
    for (size_t j = 0; j < s.size(); ++j) {
      float weight = 0;
      for (const Values& w : layer.weights) {
        for (size_t i = j; i < w.size(); i += s.size()) weight = std::max(weight, std::abs(w[i]));
      }
      s[j] = std::pow(double(layer.max_abs[j]), candidate.alpha) /
             std::pow(double(weight), 1 - candidate.alpha);
    }
    const auto [low, high] = std::ranges::minmax(s);
    for (size_t j = 0; j < s.size(); ++j) {
      EXPECT_NEAR(candidate.s[j], s[j] / std::sqrt(low * high), 1e-5 * candidate.s[j]);
    }
  }
}

TEST(SmoothScaling, ProtectsLoudChannelsOfAllSiblings) {
  std::mt19937 random(91);
  const SiteResult site =
      QuantizeSite(WithOutliers(random).Problem(), MethodFromPreset("smoothquant"));
  EXPECT_EQ(site.scaling, "smooth");
  ASSERT_EQ(site.scale.size(), 48u);
  EXPECT_GT(site.scale[3], 2 * site.scale[4]);
  for (const LinearResult& linear : site.linears) {
    EXPECT_LT(linear.loss, 0.6 * linear.loss_rtn);
  }
}

TEST(SmoothScaling, OffersNothingWithoutTheMaximaOfItsInputs) {
  std::mt19937 random(92);
  Layer layer = WithOutliers(random);
  layer.max_abs.clear();
  EXPECT_TRUE(MakeSmoothScaling(layer.Problem()).empty());
  layer.max_abs.assign(48, 0.0f);
  EXPECT_TRUE(MakeSmoothScaling(layer.Problem()).empty());
  layer.max_abs.assign(48, 1.0f);
  EXPECT_FALSE(MakeSmoothScaling(layer.Problem()).empty());
  layer.max_abs[5] = std::nanf("");
  EXPECT_TRUE(MakeSmoothScaling(layer.Problem()).empty());
}

TEST(SmoothScaling, GivesChannelsOfOneRowOneScale) {
  std::mt19937 random(93);
  Layer layer = WithOutliers(random);
  for (int64_t j = 0; j < 48; ++j) layer.row_of_channel.push_back(j % 24);
  for (const ScalingCandidate& candidate : MakeSmoothScaling(layer.Problem())) {
    EXPECT_TRUE(
        std::equal(candidate.s.begin(), candidate.s.begin() + 24, candidate.s.begin() + 24));
  }
}

}  // namespace
}  // namespace ptq::testing
