// Ranges of activations on samples with few large values: what rules find, and that none does harm.
#include "activation_range.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "quant_testing.h"
#include <gtest/gtest.h>

namespace ptq::testing {
namespace {

using Rule = ActivationRange::Rule;

/// A layer whose activations are of a normal distribution, but for some much larger ones.
struct Sampled {
  Layer layer;
  Values x;

  explicit Sampled(int large, float size, int levels = 256) {
    std::mt19937 random(91);
    layer.k = 32;
    layer.tokens = 500;
    layer.activation_levels = levels;
    x = Normal(random, layer.tokens * layer.k);
    std::uniform_int_distribution<size_t> any(0, x.size() - 1);
    for (int i = 0; i < large; ++i) x[any(random)] *= size;
    layer.Observe(x);
    layer.Add(Normal(random, 24 * layer.k, 0.1f), Spec(8, 0, true));
    layer.Add(Normal(random, 300 * layer.k, 0.1f), Spec(8, 0, false));
  }
  [[nodiscard]] SiteResult Run(const ActivationRange& range, const char* preset = "rtn") const {
    SiteProblem problem = layer.Problem();
    problem.activations.finds_levels = true;
    problem.activations.sample = x;
    Method method = MethodFromPreset(preset);
    method.activation_range = range;
    return QuantizeSite(problem, method);
  }
  [[nodiscard]] ActivationLevels LevelsBy(Rule rule) const { return *Run({rule}).levels; }
  /// Σ ‖Ŵ·(Q(x/s) − x/s)‖² over rows and linears, by its definition. (All rows are the sample.)
  [[nodiscard]] double Loss(const SiteResult& site, const ActivationLevels& levels) const {
    const auto k = size_t(layer.k);
    double loss = 0;
    for (const LinearResult& linear : site.linears) {
      Values w(linear.q.codes.size());
      linear.q.DequantizeRows(0, linear.q.n, w.data());
      for (size_t row = 0; row < x.size(); row += k) {
        std::vector<double> error(k);
        for (size_t j = 0; j < k; ++j) {
          const double value = double(x[row + j]) / (site.scale.empty() ? 1.0 : site.scale[j]);
          const double code = std::clamp(std::nearbyint(value / levels.scale) + levels.zero_point,
                                         0.0, double(levels.top()));
          error[j] = (code - levels.zero_point) * double(levels.scale) - value;
        }
        for (size_t r = 0; r < w.size(); r += k) {
          double product = 0;
          for (size_t j = 0; j < k; ++j) product += double(w[r + j]) * error[j];
          loss += product * product;
        }
      }
    }
    return loss;
  }
};

TEST(FindLevels, SpansAllThatWasSeenByMinmaxAndWithoutASample) {
  Sampled sampled(0, 1);
  sampled.layer.lowest[3] = -20;  // as padding may widen it
  const auto highest = std::ranges::max(sampled.layer.highest);
  EXPECT_EQ(sampled.LevelsBy(Rule::kMinmax), LevelsBetween(-20, highest));
  sampled.x.clear();
  EXPECT_EQ(sampled.LevelsBy(Rule::kMse), LevelsBetween(-20, highest));
}

TEST(FindLevels, CutsOffWhatIsRareWhereThatLosesLess) {
  const Sampled sampled(3, 30, 16);  // few levels: far from each other
  const ActivationLevels widest = sampled.LevelsBy(Rule::kMinmax);
  const SiteResult found = sampled.Run({Rule::kMse});
  EXPECT_LT(found.levels->scale, 0.9f * widest.scale);
  EXPECT_LT(sampled.Loss(found, *found.levels), 0.8 * sampled.Loss(found, widest));
}

TEST(FindLevels, IsNeverWorseThanTheExtremesByAnyRule) {
  for (const int large : {0, 1, 40}) {
    for (const float size : {3.0f, 30.0f, 3000.0f}) {
      const Sampled sampled(large, size);
      for (const char* preset : {"rtn", "int8"}) {
        const SiteResult widest = sampled.Run({Rule::kMinmax}, preset);
        const double most = sampled.Loss(widest, *widest.levels);
        for (const Rule rule : {Rule::kPercentile, Rule::kMse, Rule::kEntropy}) {
          for (const double percent : {99.999, 99.0}) {
            const SiteResult site = sampled.Run({rule, percent}, preset);
            EXPECT_LE(sampled.Loss(site, *site.levels), most * 1.0001)
                << large << " of " << size << ", " << ActivationRangeName({rule, percent});
          }
        }
      }
    }
  }
}

TEST(FindLevels, LeavesHalfOfThePercentOutsideAtEachEnd) {
  const Sampled sampled(3, 30, 16);
  Values sorted = sampled.x;
  std::ranges::sort(sorted);
  // A thousandth of the 16000 values at each end.
  EXPECT_EQ(*sampled.Run({Rule::kPercentile, 99.8}).levels,
            LevelsBetween(sorted[16], sorted[sorted.size() - 17], 4));
}

TEST(FindLevels, CountsExtremesThatTheSampleHasNot) {
  Sampled sampled(0, 1, 1 << 16);  // levels so close that hardly anything is gained
  const float inside = std::ranges::max(sampled.x);
  sampled.layer.highest[7] = 3 * inside;
  for (const Rule rule : {Rule::kPercentile, Rule::kMse}) {
    EXPECT_EQ(sampled.LevelsBy(rule), sampled.LevelsBy(Rule::kMinmax));
  }
}

TEST(FindLevels, CutsNothingOffWhereLevelsAreManyByEntropy) {
  const Sampled sampled(3, 30, 1 << 16);
  EXPECT_EQ(sampled.LevelsBy(Rule::kEntropy), sampled.LevelsBy(Rule::kMinmax));
  EXPECT_EQ(sampled.LevelsBy(Rule::kMse).bits, 16);
}

TEST(FindLevels, IsAskedForNothingWhereEachRunFindsItsLevels) {
  const Sampled sampled(3, 30);
  SiteProblem problem = sampled.layer.Problem();
  EXPECT_EQ(QuantizeSite(problem, MethodFromPreset("rtn")).levels, std::nullopt);
  problem.activations.finds_levels = true;
  problem.activations.levels = 0;
  EXPECT_THROW((void)QuantizeSite(problem, MethodFromPreset("rtn")), InternalError);
}

}  // namespace
}  // namespace ptq::testing
