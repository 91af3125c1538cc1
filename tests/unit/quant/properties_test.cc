// Every method on random layers is no worse than nearest and the same for any number of threads.
#include <algorithm>
#include <ostream>

#include "activation_noise.h"
#include "correction.h"
#include "random_layer.h"

namespace ptq::testing {
namespace {

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
      ASSERT_EQ(result.q.zero_points[g], spec.uniform() ? spec.mid() : 0);
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

/// One method's pieces, as the tests' parameters.
struct NamedMethod {
  std::string name;
  Method method;
  const Levels* codebook = nullptr;  ///< of all layers; null: uniform levels
};

/// The layer, for the levels that a test is about.
Layer RandomLayerFor(const NamedMethod& method, std::mt19937& random) {
  Layer layer = RandomLayer(random);
  for (QuantSpec& spec : layer.specs) {
    if (method.codebook == nullptr) continue;
    spec.bits = 4;
    spec.symmetric = true;
    spec.codebook = method.codebook;
  }
  return layer;
}

/// How GoogleTest shows it.
void PrintTo(const NamedMethod& method, std::ostream* out) { *out << method.name; }

std::string NameOf(const ::testing::TestParamInfo<NamedMethod>& info) {
  std::string name = info.param.name;
  std::ranges::replace(name, '-', '_');
  return name;
}

std::vector<NamedMethod> Presets() {
  std::vector<NamedMethod> presets;
  for (const std::string& name : MethodPresetNames()) {
    presets.push_back({name, MethodFromPreset(name)});
  }
  return presets;
}

/// All of them on levels that are not evenly spaced.
std::vector<NamedMethod> PresetsOfCodebooks() {
  std::vector<NamedMethod> presets;
  for (const Levels* codebook : {&Nf4Levels(), &Fp4Levels()}) {
    for (const std::string& name : MethodPresetNames()) {
      presets.push_back(
          {std::string(codebook->name()) + "_" + name, MethodFromPreset(name), codebook});
    }
  }
  return presets;
}

/// Each piece alone, and some together that no preset has.
std::vector<NamedMethod> PiecesAlone() {
  return {
      {"scaling_awq", Pieces("awq", "minmax")},
      {"scaling_awq_duo", Pieces("awq-duo", "minmax")},
      {"scaling_smooth", Pieces("smooth", "minmax")},
      {"grid_clip", Pieces("none", "clip")},
      {"grid_search", Pieces("none", "search")},
      {"grid_block", Pieces("none", "block")},
      {"rounding_gptq", Pieces("none", "minmax", "gptq")},
      {"rounding_descent", Pieces("none", "minmax", "descent")},
      {"rounding_adaround", Pieces("none", "minmax", "adaround")},
      {"refinement", Pieces("none", "minmax", "nearest", 1)},
      {"awq_clip_gptq", Pieces("awq", "clip", "gptq")},
      {"awq_block_descent_refined", Pieces("awq-duo", "block", "descent", 2)},
  };
}

class MethodProperties : public ::testing::TestWithParam<NamedMethod> {
 protected:
  /// The result for a random layer is well-formed and no linear worse than round-to-nearest; counts
  /// those that are better.
  static void Check(uint32_t seed, int& better) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const Layer layer = RandomLayerFor(GetParam(), random);
    const SiteProblem problem = layer.Problem();
    const SiteResult site = QuantizeSite(problem, GetParam().method);
    const SiteResult rtn = QuantizeSite(problem, MethodFromPreset("rtn"));
    ASSERT_EQ(site.linears.size(), layer.weights.size());
    for (const float s : site.scale) ASSERT_TRUE(s >= 0.99e-2f && s <= 1.01e2f) << s;
    for (size_t i = 0; i < site.linears.size(); ++i) {
      const LinearResult& own = site.linears[i];
      ExpectWellFormed(own, layer.specs[i], layer.n(i), layer.k);
      EXPECT_LE(own.loss, own.loss_rtn);
      EXPECT_EQ(own.loss_rtn, rtn.linears[i].loss);
      EXPECT_TRUE(std::isfinite(own.loss) && std::isfinite(own.energy));
      better += own.loss < own.loss_rtn;
    }
  }
};

class PresetProperties : public MethodProperties {};
class PieceProperties : public MethodProperties {};

TEST_P(PresetProperties, IsNeverWorseThanRoundToNearestAndWellFormed) {
  int better = 0;
  for (uint32_t seed = 13; seed < 13 + 1000 / kSeedsPart && !HasFailure(); ++seed) {
    Check(seed, better);
  }
  EXPECT_GE(better, GetParam().name.ends_with("rtn")
                        ? 0
                        : int(500 / kSeedsPart));  // the property is not empty
}

TEST_P(PieceProperties, IsNeverWorseThanRoundToNearestAndWellFormed) {
  int better = 0;
  for (uint32_t seed = 5000; seed < 5000 + 200 / kSeedsPart && !HasFailure(); ++seed) {
    Check(seed, better);
  }
  EXPECT_GE(better, int(40 / kSeedsPart));
}

INSTANTIATE_TEST_SUITE_P(Methods, PresetProperties, ::testing::ValuesIn(Presets()), NameOf);
INSTANTIATE_TEST_SUITE_P(Codebooks, PresetProperties, ::testing::ValuesIn(PresetsOfCodebooks()),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(Methods, PieceProperties, ::testing::ValuesIn(PiecesAlone()), NameOf);

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

/// What a site's losses are of: with a cross moment the corrected weights.
Values Target(const Layer& layer, size_t linear) {
  if (layer.cross.empty() || !std::isfinite(layer.gram[0])) return layer.weights[linear];
  const Correction correction(layer.gram, layer.cross, layer.k, layer.tokens);
  return correction.Apply(MatrixRows(layer.weights[linear], layer.k));
}

/// What the rounding of activations costs weights that see x, from their own errors.
double NoiseOf(const Layer& layer, const std::vector<double>& effective, const Values& s) {
  const std::vector<double> noise = layer.Noise().LossesFor(s);
  double loss = 0;
  for (size_t i = 0; !noise.empty() && i < effective.size(); ++i) {
    const size_t j = i % size_t(layer.k);
    const double value = effective[i] * (s.empty() ? 1.0 : double(s[j]));
    loss += noise[j] * value * value;
  }
  return std::isfinite(loss) ? loss : 0;  // levels of an endless range are none
}

/// What the weights make of the errors of the sample's tokens.
double MeasuredRounding(const Layer& layer, const std::vector<double>& effective, const Values& s) {
  if (layer.activation_block == 0) return 0;
  const Values errors = layer.Noise().ErrorsFor(s);
  const auto k = size_t(layer.k);
  double loss = 0;
  for (size_t token = 0; token < errors.size(); token += k) {
    for (size_t row = 0; row < effective.size(); row += k) {
      double sum = 0;
      for (size_t j = 0; j < k; ++j) {
        sum += double(errors[token + j]) * effective[row + j] * (s.empty() ? 1.0 : double(s[j]));
      }
      loss += sum * sum;
    }
  }
  return loss * layer.Noise().TokensForEach();
}

TEST_P(PresetProperties, TellsTheLossThatItsResultHas) {
  for (uint32_t seed = 1013; seed < 1053; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    Layer layer = RandomLayerFor(GetParam(), random);
    if (layer.gram.empty()) layer.cross.clear();
    const bool usable = std::isfinite(layer.gram.empty() ? 0.0f : layer.gram[0]);
    const Values gram = usable ? layer.gram : Values();
    const SiteResult site = QuantizeSite(layer.Problem(), GetParam().method);
    const SiteResult rtn = QuantizeSite(layer.Problem(), MethodFromPreset("rtn"));
    for (size_t i = 0; i < site.linears.size(); ++i) {
      const LinearResult& own = site.linears[i];
      const Values w = Target(layer, i);
      const std::vector<double> effective = Effective(own.q, site.scale);
      const double rounding = gram.empty() ? 0 : NoiseOf(layer, effective, site.scale);
      const double loss = NaiveLoss(effective, w, gram, layer.k) + rounding;
      const double terms = NaiveTerms(effective, w, gram, layer.k);
      const std::vector<double> nearest = Effective(rtn.linears[i].q, {});
      const double plain =
          NaiveLoss(nearest, w, gram, layer.k) + (gram.empty() ? 0 : NoiseOf(layer, nearest, {}));
      // Of the sums, and of rounding each effective weight to single precision.
      const double size = NaiveTerms(std::vector<double>(w.size()), w, gram, layer.k);
      // Weights of 1e-40 are multiples of 1.4e-45.
      double largest = 1e-45;
      for (const float value : w) largest = std::max(largest, std::abs(double(value)));
      const double noise = 1e-6 * terms + 2e-7 * std::sqrt(std::max(loss, 0.0) * size) +
                           1e-13 * size + 5e-45 / largest * loss;
      EXPECT_NEAR(own.loss, loss, 1e-5 * loss + noise);
      const double measured = gram.empty() ? 0 : MeasuredRounding(layer, effective, site.scale);
      EXPECT_NEAR(own.activation_loss, measured, 1e-4 * measured);
      EXPECT_LE(loss, plain * (1 + 1e-4) + 2 * noise);
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

TEST_P(PresetProperties, DoesNotDependOnTheNumberOfThreads) {
  const auto check = [](const Layer& layer) {
    SiteResult results[2];
    for (const int threads : {1, 2}) {
      const ThreadLimit limit(threads);
      results[threads - 1] = QuantizeSite(layer.Problem(), GetParam().method);
    }
    ExpectSame(results[0], results[1]);
  };
  for (uint32_t seed = 500; seed < 520; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    check(RandomLayerFor(GetParam(), random));
  }
  // Of several tiles of rows and several panels of the factor.
  std::mt19937 random(520);
  Layer layer;
  layer.k = 400;
  layer.tokens = 300;
  layer.Observe(CorrelatedInputs(random, 300, 400));
  layer.Add(Normal(random, 150 * 400), Spec(3, 32, true, ScaleType::kFloat16));
  layer.specs.back().codebook = GetParam().codebook;
  check(layer);
}

}  // namespace
}  // namespace ptq::testing
