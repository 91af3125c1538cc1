#include <algorithm>
#include <limits>

#include "quant_testing.h"

namespace ptq::testing {
namespace {

constexpr uint32_t kSeed = 13;

template <typename T>
T Pick(std::mt19937& random, const std::vector<T>& choices) {
  return choices[std::uniform_int_distribution<size_t>(0, choices.size() - 1)(random)];
}

bool Chance(std::mt19937& random, double probability) {
  return std::bernoulli_distribution(probability)(random);
}

Values RandomInputs(std::mt19937& random, int64_t k) {
  const int64_t tokens = Pick<int64_t>(random, {1, 3, k, 3 * k});
  Values x = Normal(random, tokens * k, Pick<float>(random, {1e-10f, 1.0f, 1.0f, 1.0f, 1e10f}));
  const bool correlated = Chance(random, 0.3);
  const bool outliers = Chance(random, 0.4);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t j = 1; j < k; ++j) {
      float& value = x[size_t(t * k + j)];
      if (correlated) value += 2.0f * x[size_t(t * k)];
      if (outliers && j % 19 == 1) value *= 40.0f;
      if (outliers && j % 23 == 2) value = 0.0f;
    }
  }
  return x;
}

Values RandomWeight(std::mt19937& random, int64_t n, int64_t k) {
  const std::vector<float> sizes = {1e-40f, 1e-30f, 1e-6f, 0.05f, 0.05f, 0.05f, 1.0f, 1e30f};
  Values w = Normal(random, n * k, Pick(random, sizes));
  if (Chance(random, 0.3)) {  // heavy tails
    for (float& value : w) value *= std::abs(Normal(random, 1)[0]) + 0.1f;
  }
  if (Chance(random, 0.3)) {  // zero columns and a zero row
    for (int64_t r = 0; r < n; ++r) w[size_t(r * k + k / 2)] = 0.0f;
    for (int64_t j = 0; j < k; ++j) w[size_t(n / 2 * k + j)] = 0.0f;
  }
  if (Chance(random, 0.1)) {  // all positive
    for (float& value : w) value = std::abs(value);
  }
  return w;
}

Layer RandomLayer(std::mt19937& random) {
  Layer layer;
  layer.k = Pick<int64_t>(random, {1, 2, 5, 16, 31, 33, 64, 65, 96, 127});
  layer.Observe(RandomInputs(random, layer.k));
  const int siblings = Pick<int>(random, {1, 1, 2, 3});
  for (int i = 0; i < siblings; ++i) {
    const int64_t n = Pick<int64_t>(random, {1, 2, 63, 64, 65, 130});
    const QuantSpec spec =
        Spec(Pick<int>(random, {2, 3, 4, 4, 8}), Pick<int64_t>(random, {0, 16, 32, 128}),
             Chance(random, 0.5), Chance(random, 0.5) ? ScaleType::kFloat16 : ScaleType::kFloat32);
    layer.Add(RandomWeight(random, n, layer.k), spec);
  }
  if (Chance(random, 0.05)) layer.mean_abs[0] = std::nanf("");
  if (Chance(random, 0.05)) layer.gram[0] = std::numeric_limits<float>::infinity();
  if (Chance(random, 0.05)) std::ranges::fill(layer.mean_abs, 0.0f);
  if (Chance(random, 0.05)) layer.gram.clear();
  return layer;
}

void ExpectWellFormed(const LinearResult& result, const QuantSpec& spec, int64_t n, int64_t k) {
  ASSERT_EQ(int64_t(result.q.codes.size()), n * k);
  ASSERT_EQ(int64_t(result.q.scales.size()), n * spec.GroupsFor(k));
  ASSERT_EQ(result.q.zero_points.size(), result.q.scales.size());
  for (const uint8_t code : result.q.codes) ASSERT_LT(code, spec.levels());
  for (size_t g = 0; g < result.q.scales.size(); ++g) {
    const float scale = result.q.scales[g];
    ASSERT_TRUE(std::isfinite(scale));
    ASSERT_NE(scale, 0.0f);
    if (spec.scale_type == ScaleType::kFloat16) {
      ASSERT_EQ(scale, RoundToHalf(scale));
    }
    ASSERT_LT(result.q.zero_points[g], spec.levels());
    if (spec.symmetric) {
      ASSERT_EQ(result.q.zero_points[g], spec.mid());
    }
  }
}

void ExpectSame(const SiteResult& a, const SiteResult& b) {
  EXPECT_EQ(a.scale, b.scale);
  ASSERT_EQ(a.linears.size(), b.linears.size());
  for (size_t i = 0; i < a.linears.size(); ++i) {
    EXPECT_EQ(a.linears[i].q.codes, b.linears[i].q.codes);
    EXPECT_EQ(a.linears[i].q.scales, b.linears[i].q.scales);
    EXPECT_EQ(a.linears[i].q.zero_points, b.linears[i].q.zero_points);
    EXPECT_EQ(a.linears[i].loss, b.linears[i].loss);
  }
}

TEST(QuantizeSiteProperties, IsNeverWorseThanRoundToNearestAndWellFormed) {
  int scaled = 0;
  for (uint32_t seed = kSeed; seed < kSeed + 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const Layer layer = RandomLayer(random);
    const SiteProblem problem = layer.Problem();
    const Method method =
        Pieces(Chance(random, 0.8) ? "awq" : "none", Chance(random, 0.8) ? "clip" : "minmax");
    const SiteResult site = QuantizeSite(problem, method);
    const SiteResult rtn = QuantizeSite(problem, MethodFromPreset("rtn"));
    ASSERT_EQ(site.linears.size(), layer.weights.size());
    scaled += !site.scale.empty();
    for (const float s : site.scale) ASSERT_TRUE(s >= 0.99e-2f && s <= 1.01e2f) << s;
    for (size_t i = 0; i < site.linears.size(); ++i) {
      const LinearResult& own = site.linears[i];
      ExpectWellFormed(own, layer.specs[i], layer.n(i), layer.k);
      EXPECT_LE(own.loss, own.loss_rtn);
      EXPECT_EQ(own.loss_rtn, rtn.linears[i].loss);
      EXPECT_TRUE(std::isfinite(own.loss) && std::isfinite(own.energy));
    }
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(scaled, 30);  // the property is not empty
}

/// The size of the terms that a loss sums and that may cancel: Σ over rows of (Σ_j
/// |Δ_j|·sqrt(H_jj))².
double NaiveTerms(const std::vector<double>& a, const Values& b, const Values& gram, int64_t k) {
  double terms = 0;
  for (size_t begin = 0; begin < a.size(); begin += size_t(k)) {
    double sum = 0;
    for (size_t j = 0; j < size_t(k); ++j) {
      const double h = gram.empty() ? 1.0 : double(gram[j * size_t(k) + j]);
      sum += std::abs(a[begin + j] - double(b[begin + j])) * std::sqrt(h);
    }
    terms += sum * sum;
  }
  return terms;
}

TEST(QuantizeSiteProperties, LossesAreTrueInDouble) {
  for (uint32_t seed = 1000; seed < 1040; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const Layer layer = RandomLayer(random);
    const bool usable = std::isfinite(layer.gram.empty() ? 0.0f : layer.gram[0]);
    const SiteResult site = QuantizeSite(layer.Problem(), MethodFromPreset("awq"));
    for (size_t i = 0; i < site.linears.size(); ++i) {
      const LinearResult& own = site.linears[i];
      const double loss = NaiveLoss(Effective(own.q, site.scale), layer.weights[i],
                                    usable ? layer.gram : Values(), layer.k);
      const double terms = NaiveTerms(Effective(own.q, site.scale), layer.weights[i],
                                      usable ? layer.gram : Values(), layer.k);
      // The third term is the rounding of the effective weight itself.
      EXPECT_NEAR(own.loss, loss, 1e-5 * loss + 1e-6 * terms + 1e-13 * own.energy);
    }
  }
}

/// Without statistics there is a path of its own, in registers and single precision.
TEST(QuantizeSiteProperties, RoundsToNearestWithoutStatistics) {
  for (uint32_t seed = 2000; seed < 2100; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    Layer layer = RandomLayer(random);
    layer.gram.clear();
    const SiteResult site = QuantizeSite(layer.Problem(), MethodFromPreset("rtn"));
    for (size_t i = 0; i < site.linears.size(); ++i) {
      const LinearResult& own = site.linears[i];
      const QuantSpec& spec = own.q.spec;
      for (size_t j = 0; j < own.q.codes.size(); ++j) {
        const auto row = int64_t(j) / layer.k;
        const auto group = int64_t(j) % layer.k / spec.GroupSizeFor(layer.k);
        const auto at = size_t(row * spec.GroupsFor(layer.k) + group);
        const float nearest = std::nearbyint(layer.weights[i][j] / own.q.scales[at]);
        const float zero = own.q.zero_points[at];
        ASSERT_EQ(own.q.codes[j], std::clamp(nearest + zero, 0.0f, float(spec.levels() - 1)))
            << "linear " << i << ", weight " << j;
      }
      const double loss = NaiveLoss(Effective(own.q, {}), layer.weights[i], {}, layer.k);
      const double energy =
          NaiveLoss(std::vector<double>(own.q.codes.size()), layer.weights[i], {}, layer.k);
      // The last term is the rounding of each effective weight to single precision.
      EXPECT_NEAR(own.loss, loss, 1e-6 * loss + 2e-7 * std::sqrt(loss * energy));
      EXPECT_NEAR(own.energy, energy, 1e-6 * energy);
    }
  }
}

TEST(QuantizeSiteProperties, DoesNotDependOnTheNumberOfThreads) {
  for (uint32_t seed = 500; seed < 530; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const Layer layer = RandomLayer(random);
    SiteResult results[2];
    for (const int threads : {1, 2}) {
      const ThreadLimit limit(threads);
      results[threads - 1] = QuantizeSite(layer.Problem(), MethodFromPreset("awq"));
    }
    ExpectSame(results[0], results[1]);
  }
}

}  // namespace
}  // namespace ptq::testing
