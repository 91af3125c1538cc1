// The clip grid against the best of all shrink factors.
#include "quant_testing.h"

namespace ptq::testing {
namespace {

/// The least loss of one row that is one group, over all shrink factors.
double BestShrink(const Values& row, const QuantSpec& spec, const Values& gram) {
  const int64_t k = int64_t(row.size());
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 10; ++i) {
    // As the product computes the factor: in float.
    const QuantizedMatrix q = NaiveRtn(row, k, spec, double(1.0f - float(i) * (1.0f / 20)));
    best = std::min(best, NaiveLoss(Effective(q, {}), row, gram, k));
  }
  return best;
}

TEST(ClipGrid, FindsTheBestOfTenBoundsInEveryRow) {
  std::mt19937 random(11);
  for (const int bits : {2, 3, 4}) {
    for (const bool symmetric : {true, false}) {
      for (const bool calibrated : {true, false}) {
        Layer layer;
        layer.k = 48;
        if (calibrated) layer.Observe(Normal(random, 100 * 48));
        const QuantSpec spec = Spec(bits, 0, symmetric, ScaleType::kFloat16);
        layer.Add(Normal(random, 20 * 48), spec);
        const LinearResult result =
            QuantizeSite(layer.Problem(), Pieces("none", "clip")).linears[0];
        double best = 0;
        for (int64_t r = 0; r < 20; ++r) {
          const Values row(layer.weights[0].begin() + r * 48,
                           layer.weights[0].begin() + (r + 1) * 48);
          best += BestShrink(row, spec, layer.gram);
        }
        EXPECT_NEAR(result.loss, best, 1e-5 * best);
        EXPECT_LT(result.loss, result.loss_rtn);
      }
    }
  }
}

TEST(ClipGrid, CutsAnOutlierThatNoInputMeets) {
  // The outlier's channel is silent, so its group gains from ignoring it.
  Layer layer;
  layer.k = 4;
  layer.Observe({1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0});
  layer.Add({0.45f, -0.45f, 0.225f, 8.0f}, Spec(4, 0, true));
  const LinearResult result = QuantizeSite(layer.Problem(), Pieces("none", "clip")).linears[0];
  EXPECT_LT(result.loss, 0.8 * result.loss_rtn);
  EXPECT_LT(std::abs(result.q.scales[0]), 1.0f);
}

TEST(ClipGrid, WorksGroupByGroupWhereGroupsAreIndependent) {
  std::mt19937 random(12);
  Layer layer;
  layer.k = 40;  // a group of 16, another, and one of 8
  layer.Observe(Normal(random, 100 * 40));
  for (int64_t i = 0; i < 40; ++i) {
    for (int64_t j = 0; j < i; ++j) {
      if (i / 16 != j / 16) layer.gram[size_t(i * 40 + j)] = 0.0f;
    }
  }
  layer.Add(Normal(random, 40), Spec(3, 16, true));
  const LinearResult result = QuantizeSite(layer.Problem(), Pieces("none", "clip")).linears[0];
  double best = 0;
  for (int64_t begin = 0; begin < 40; begin += 16) {
    const int64_t size = std::min<int64_t>(16, 40 - begin);
    const Values part(layer.weights[0].begin() + begin, layer.weights[0].begin() + begin + size);
    Values block(static_cast<size_t>(size * size));
    for (int64_t i = 0; i < size; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        block[size_t(i * size + j)] = layer.gram[size_t((begin + i) * 40 + begin + j)];
      }
    }
    best += BestShrink(part, Spec(3, 0, true), block);
  }
  EXPECT_NEAR(result.loss, best, 1e-5 * best);
}

TEST(ClipGrid, FallsBackToMinmaxInRowsWhereItCostsMore) {
  // Strong correlation between groups: the best for each group alone is not the best for the row.
  std::mt19937 random(14);
  Layer layer;
  layer.k = 64;
  Values x = Normal(random, 100 * 64, 0.1f);
  const Values common = Normal(random, 100, 3.0f);
  for (size_t i = 0; i < x.size(); ++i) x[i] += common[i / 64];
  layer.Observe(x);
  layer.Add(Normal(random, 64 * 64), Spec(3, 8, true));
  const LinearResult clip = QuantizeSite(layer.Problem(), Pieces("none", "clip")).linears[0];
  const QuantizedMatrix rtn = NaiveRtn(layer.weights[0], 64, layer.specs[0]);
  int fallen_back = 0;
  for (size_t r = 0; r < 64; ++r) {
    const QuantizedMatrix q = clip.q;
    const auto row = [&](const std::vector<double>& values) {
      return std::vector<double>(values.begin() + int64_t(r * 64),
                                 values.begin() + int64_t((r + 1) * 64));
    };
    const Values w(layer.weights[0].begin() + int64_t(r * 64),
                   layer.weights[0].begin() + int64_t((r + 1) * 64));
    const double own = NaiveLoss(row(Effective(q, {})), w, layer.gram, 64);
    const double plain = NaiveLoss(row(Effective(rtn, {})), w, layer.gram, 64);
    EXPECT_LE(own, plain * (1 + 1e-4)) << "row " << r;
    fallen_back +=
        std::equal(q.scales.begin() + int64_t(r * 8), q.scales.begin() + int64_t(r * 8 + 8),
                   rtn.scales.begin() + int64_t(r * 8));
  }
  EXPECT_GT(fallen_back, 0);
  EXPECT_LT(fallen_back, 64);
}

}  // namespace
}  // namespace ptq::testing
