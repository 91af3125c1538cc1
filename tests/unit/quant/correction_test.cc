// Corrected weights against the ridge regression in double, and what they gain.
#include "correction.h"

#include <limits>

#include "dense_reference.h"

namespace ptq::testing {
namespace {

/// Inputs, and what they become behind quantized layers.
Layer Distorted(std::mt19937& random, int64_t tokens, int64_t k) {
  Layer layer;
  layer.k = k;
  const Values x = CorrelatedInputs(random, tokens, k);
  Values x_hat = x;
  const Values noise = Normal(random, tokens * k, 0.2f);
  for (size_t i = 0; i < x.size(); ++i) {
    x_hat[i] = 0.9f * x[i] + 0.1f * x[i / size_t(k) * size_t(k)] + noise[i];
  }
  layer.Observe(x, x_hat);
  layer.Add(Normal(random, 150 * k), Spec(4, 16, true));
  return layer;
}

Dense Cross(const Layer& layer) { return DenseRows(layer.cross, layer.k); }

TEST(Correction, IsTheRidgeRegressionOfTheOriginalOutputs) {
  std::mt19937 random(80);
  for (const int64_t k : {1, 5, 40}) {
    for (const int64_t tokens : {int64_t{0}, 20 * k - 1, 20 * k}) {
      const Layer layer = Distorted(random, 60, k);
      const Dense h = DenseGram(layer.gram, k);
      const double ridge = (tokens < 20 * k ? 1.0 : 0.1) * h.diagonal().mean();
      const Dense w = DenseRows(layer.weights[0], k);
      const Dense expected = w + w * Cross(layer) * (h + ridge * Dense::Identity(k, k)).inverse();
      const Correction correction(layer.gram, layer.cross, k, tokens);
      const Values found = correction.Apply(MatrixRows(layer.weights[0], k));
      EXPECT_LT((DenseRows(found, k) - expected).norm(), 1e-6 * expected.norm())
          << k << ", " << tokens;
    }
  }
}

TEST(Correction, LowersTheErrorOfTheOutputsItWasMadeFrom) {
  for (uint32_t seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const int64_t k = 1 + int64_t(random() % 40);
    const int64_t tokens = 1 + int64_t(random() % 200);
    const Values x = CorrelatedInputs(random, tokens, k);
    Values x_hat = x;
    const Values noise = Normal(random, tokens * k, 0.3f);
    for (size_t i = 0; i < x.size(); ++i) x_hat[i] = 0.8f * x[i] + noise[i];
    Layer layer;
    layer.k = k;
    layer.Observe(x, x_hat);
    const Values w = Normal(random, 6 * k);
    const Correction correction(layer.gram, layer.cross, k, tokens);
    const Dense corrected = DenseRows(correction.Apply(MatrixRows(w, k)), k);
    const Dense wanted = DenseRows(x, k) * DenseRows(w, k).transpose();
    const Dense before = DenseRows(x_hat, k) * DenseRows(w, k).transpose() - wanted;
    const Dense after = DenseRows(x_hat, k) * corrected.transpose() - wanted;
    for (int64_t r = 0; r < 6; ++r) {
      EXPECT_LT(after.col(r).squaredNorm(), before.col(r).squaredNorm()) << "row " << r;
    }
  }
}

TEST(Correction, GainsTheDifferenceOfTheErrors) {
  for (uint32_t seed = 0; seed < 10; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const int64_t k = 1 + int64_t(random() % 40);
    const int64_t tokens = 1 + int64_t(random() % 200);
    const Values x = CorrelatedInputs(random, tokens, k);
    Values x_hat = x;
    const Values noise = Normal(random, tokens * k, 0.3f);
    for (size_t i = 0; i < x.size(); ++i) x_hat[i] = 0.8f * x[i] + noise[i];
    Layer layer;
    layer.k = k;
    layer.Observe(x, x_hat);
    const Values w = Normal(random, 6 * k);
    const Correction correction(layer.gram, layer.cross, k, tokens);
    const Values corrected = correction.Apply(MatrixRows(w, k));
    const Dense wanted = DenseRows(x, k) * DenseRows(w, k).transpose();
    const Dense before = DenseRows(x_hat, k) * DenseRows(w, k).transpose() - wanted;
    const Dense after = DenseRows(x_hat, k) * DenseRows(corrected, k).transpose() - wanted;
    const double expected = before.squaredNorm() - after.squaredNorm();
    EXPECT_NEAR(correction.Gain(GramView(layer.gram, k), MatrixRows(w, k), corrected), expected,
                1e-3 * expected + 1e-6 * before.squaredNorm());
  }
}

/// Where x̂ = A x is white, W* moves all the way to W A⁻¹ but for the ridge: 1 of 1.1.
TEST(Correction, NearlyUndoesALinearMap) {
  std::mt19937 random(81);
  const int64_t k = 16;
  const int64_t repeats = 25;
  const Dense inverse = Dense::Identity(k, k) + 0.1 * DenseRows(Normal(random, k * k), k);
  Values x, x_hat;
  for (int64_t t = 0; t < repeats * k; ++t) {
    for (int64_t j = 0; j < k; ++j) {
      x_hat.push_back(t % k == j ? 2.0f : 0.0f);
      x.push_back(float(2 * inverse(j, t % k)));
    }
  }
  Layer layer;
  layer.k = k;
  layer.Observe(x, x_hat);
  const Values weights = Normal(random, 5 * k);
  const Dense w = DenseRows(weights, k);
  const Correction correction(layer.gram, layer.cross, k, repeats * k);
  const Dense found = DenseRows(correction.Apply(MatrixRows(weights, k)), k);
  EXPECT_LT((found - (w + (w * inverse - w) / 1.1)).norm(), 1e-5 * w.norm());
}

TEST(Correction, LeavesWeightsAloneWithoutADifferenceOrNumbers) {
  std::mt19937 random(82);
  Layer layer = Distorted(random, 50, 20);
  const auto unchanged = [&] {
    const Correction correction(layer.gram, layer.cross, 20, 50);
    return correction.Apply(MatrixRows(layer.weights[0], 20)) == layer.weights[0];
  };
  EXPECT_FALSE(unchanged());
  const Layer good = layer;
  std::ranges::fill(layer.cross, 0.0f);
  EXPECT_TRUE(unchanged());
  layer = good;
  layer.cross[5] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(unchanged());
  layer = good;
  for (float& value : layer.gram) value *= 0.0f;
  EXPECT_TRUE(unchanged());
}

TEST(Correction, ComesBeforeQuantizingAndItsWeightsAreWhatLossesCompareWith) {
  std::mt19937 random(83);
  Layer layer = Distorted(random, 500, 40);
  layer.tokens = 500;
  const SiteResult site = QuantizeSite(layer.Problem(), MethodFromPreset("best"));
  Layer corrected = layer;
  corrected.cross.clear();
  const Correction correction(layer.gram, layer.cross, 40, 500);
  corrected.weights[0] = correction.Apply(MatrixRows(layer.weights[0], 40));
  const SiteResult expected = QuantizeSite(corrected.Problem(), MethodFromPreset("best"));
  EXPECT_EQ(site.linears[0].q.codes, expected.linears[0].q.codes);
  EXPECT_EQ(site.linears[0].q.scales, expected.linears[0].q.scales);
  EXPECT_EQ(site.linears[0].loss, expected.linears[0].loss);
  EXPECT_EQ(site.linears[0].loss_rtn, expected.linears[0].loss_rtn);
  const double loss =
      NaiveLoss(Effective(site.linears[0].q, site.scale), corrected.weights[0], layer.gram, 40);
  EXPECT_NEAR(site.linears[0].loss, loss, 1e-4 * loss);
}

TEST(Correction, IsNotMadeFromAMatrixThatCannotBeUsed) {
  std::mt19937 random(84);
  Layer layer = Distorted(random, 50, 20);
  layer.gram[0] = std::nanf("");
  const SiteResult site = QuantizeSite(layer.Problem(), MethodFromPreset("best"));
  layer.cross.clear();
  const SiteResult expected = QuantizeSite(layer.Problem(), MethodFromPreset("best"));
  EXPECT_EQ(site.linears[0].q.codes, expected.linears[0].q.codes);
}

}  // namespace
}  // namespace ptq::testing
