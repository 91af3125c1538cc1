// Losses as QuantizeSite tells them against the output error in double.
#include "quant_testing.h"

namespace ptq::testing {
namespace {

/// A layer whose inputs are correlated, as real ones are.
Layer Correlated(std::mt19937& random, int64_t k, int64_t tokens) {
  Layer layer;
  layer.k = k;
  const Values mix = Normal(random, k * k);
  const Values z = Normal(random, tokens * k);
  Values x(static_cast<size_t>(tokens * k), 0.0f);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < k; ++j) {
        x[size_t(t * k + j)] += z[size_t(t * k + i)] * mix[size_t(i * k + j)];
      }
    }
  }
  layer.Observe(x);
  return layer;
}

TEST(Loss, IsTheOutputErrorInDouble) {
  std::mt19937 random(3);
  for (const int64_t k : {1, 2, 31, 64, 97}) {
    Layer layer = Correlated(random, k, 50);  // fewer tokens than channels, too
    layer.Add(Normal(random, 70 * k), Spec(4, 32, true));
    const LinearResult result = QuantizeSite(layer.Problem(), Pieces("none", "minmax")).linears[0];
    const Values& w = layer.weights[0];
    const double loss = NaiveLoss(Effective(result.q, {}), w, layer.gram, k);
    const double energy = NaiveLoss(std::vector<double>(w.size(), 0.0), w, layer.gram, k);
    EXPECT_NEAR(result.loss, loss, 1e-4 * loss) << k;
    EXPECT_NEAR(result.energy, energy, 1e-4 * energy) << k;
    EXPECT_EQ(result.loss, result.loss_rtn);
  }
}

TEST(Loss, IsTheSquaredErrorWithoutCalibration) {
  std::mt19937 random(4);
  const Values w = Normal(random, 33 * 50);
  const LinearResult result = QuantizeAlone(w, 50, Spec(4, 16, false));
  const double loss = NaiveLoss(Effective(result.q, {}), w, {}, 50);
  EXPECT_NEAR(result.loss, loss, 1e-6 * loss);
}

TEST(Loss, KeepsItsPrecisionForHugeAndTinyWeightsAndInputs) {
  std::mt19937 random(5);
  for (const float weight : {1e-30f, 1.0f, 1e30f}) {
    for (const float input : {1e-14f, 1.0f, 1e14f}) {
      Layer layer;
      layer.k = 40;
      layer.Observe(Normal(random, 60 * 40, input));
      layer.Add(Normal(random, 20 * 40, weight), Spec(4, 32, true));
      const LinearResult result =
          QuantizeSite(layer.Problem(), Pieces("none", "minmax")).linears[0];
      const double loss = NaiveLoss(Effective(result.q, {}), layer.weights[0], layer.gram, layer.k);
      EXPECT_NEAR(result.loss, loss, 1e-4 * loss) << weight << " " << input;
      EXPECT_GT(result.loss, 0.0);
    }
  }
}

TEST(Loss, OfAScaledSiteIsInTheCoordinatesOfTheOriginalWeight) {
  std::mt19937 random(6);
  Layer layer;
  layer.k = 64;
  Values x = Normal(random, 200 * 64);
  for (size_t i = 0; i < x.size(); i += 64) x[i + 5] *= 50.0f;
  layer.Observe(x);
  layer.Add(Normal(random, 100 * 64), Spec(4, 32, true));
  const SiteResult site = QuantizeSite(layer.Problem(), MethodFromPreset("awq"));
  ASSERT_FALSE(site.scale.empty());
  const double loss =
      NaiveLoss(Effective(site.linears[0].q, site.scale), layer.weights[0], layer.gram, layer.k);
  EXPECT_NEAR(site.linears[0].loss, loss, 1e-4 * loss);
}

/// The codes that are nearest on the grid of a result, found one by one.
QuantizedMatrix NearestOnGrid(QuantizedMatrix q, const Values& w, const Values& s) {
  for (int64_t i = 0; i < q.n * q.k; ++i) {
    const auto g = size_t(i / q.k * q.spec.GroupsFor(q.k) + i % q.k / q.spec.GroupSizeFor(q.k));
    const double target =
        double(w[size_t(i)]) * (s.empty() ? 1.0 : double(s[size_t(i % q.k)])) / double(q.scales[g]);
    double best = std::numeric_limits<double>::infinity();
    for (int code = 0; code < q.spec.levels(); ++code) {
      const double distance = std::abs(double(q.spec.Level(code, q.zero_points[g])) - target);
      if (distance < best) q.codes[size_t(i)] = uint8_t(code);
      best = std::min(best, distance);
    }
  }
  return q;
}

TEST(Loss, IsSplitIntoThatOfTheGridAndThatOfTheRounding) {
  for (const char* const rounding : {"nearest", "descent"}) {
    for (const char* const scaling : {"none", "awq"}) {
      SCOPED_TRACE(std::string(rounding) + " " + scaling);
      std::mt19937 random(17);
      Layer layer = Correlated(random, 64, 400);
      layer.Add(Normal(random, 40 * 64), Spec(3, 32, true));
      const SiteResult site = QuantizeSite(layer.Problem(), Pieces(scaling, "minmax", rounding));
      const LinearResult& result = site.linears[0];
      const Values& w = layer.weights[0];
      const QuantizedMatrix nearest = NearestOnGrid(result.q, w, site.scale);
      const double loss = NaiveLoss(Effective(nearest, site.scale), w, layer.gram, 64);
      EXPECT_NEAR(result.nearest_loss, loss, 1e-3 * loss);
      EXPECT_NEAR(result.weight_loss, result.loss, 1e-6 * result.loss);
      if (std::string(rounding) == "descent") {
        EXPECT_LT(result.weight_loss, 0.9 * result.nearest_loss);
      } else {
        EXPECT_EQ(result.weight_loss, result.nearest_loss);
      }
    }
  }
}

TEST(Loss, OfTriedScalingsIncludesNone) {
  std::mt19937 random(18);
  Layer layer = Correlated(random, 64, 400);
  layer.Add(Normal(random, 16 * 64), Spec(4, 32, true));  // as many rows as are looked at
  const SiteResult site = QuantizeSite(layer.Problem(), Pieces("awq", "minmax"));
  ASSERT_EQ(site.trials.size(), 21u);
  EXPECT_EQ(site.trials[0].scaling, "none");
  const LinearResult plain = QuantizeSite(layer.Problem(), Pieces("none", "minmax")).linears[0];
  const Values& w = layer.weights[0];
  const double loss = NaiveLoss(Effective(plain.q, {}), w, layer.gram, 64);
  const double energy = NaiveLoss(std::vector<double>(w.size(), 0.0), w, layer.gram, 64);
  EXPECT_NEAR(site.trials[0].relative_loss, loss / energy, 1e-3 * loss / energy);
  EXPECT_TRUE(QuantizeSite(layer.Problem(), Pieces("none", "minmax")).trials.empty());
}

}  // namespace
}  // namespace ptq::testing
