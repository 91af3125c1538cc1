// AdaRound takes one of two codes, whatever the units, and costs less than nearest.
#include "dense_reference.h"

namespace ptq::testing {
namespace {

/// Random weights on the min-max grid, rounded.
OwnedBlock Rounded(const Values& w, int64_t k, const QuantSpec& spec, const GramView& gram) {
  OwnedBlock block(w, k, spec);
  MakeMinmaxGrid(gram)(block.view());
  MakeAdaroundRounding(gram)(block.view());
  return block;
}

double Wanted(const OwnedBlock& block, int64_t i) {
  const QuantizedMatrix& q = block.q();
  const int64_t g = i / q.k * q.spec.GroupsFor(q.k) + i % q.k / q.spec.GroupSizeFor(q.k);
  return double(block.w()[size_t(i)]) / double(q.scales[size_t(g)]) +
         double(q.zero_points[size_t(g)]);
}

TEST(AdaroundRounding, TakesOneOfTheTwoCodesAroundAWeight) {
  std::mt19937 random(95);
  for (const QuantSpec& spec : {Spec(3, 16, true), Spec(4, 0, false), Spec(2, 8, true)}) {
    ForEachGram(random, 40, [&](const TestedGram& gram) {
      const OwnedBlock block = Rounded(Normal(random, 9 * 40), 40, spec, *gram.view);
      for (int64_t i = 0; i < 9 * 40; ++i) {
        const double code = block.q().codes[size_t(i)];
        const double wanted = std::clamp(Wanted(block, i), 0.0, double(spec.levels() - 1));
        EXPECT_LT(std::abs(code - wanted), 1.0001) << i;
      }
    });
  }
}

TEST(AdaroundRounding, IsRoundToNearestWhereChannelsAreIndependent) {
  std::mt19937 random(96);
  Layer layer;
  layer.k = 40;
  Values x(40 * 40, 0.0f);
  for (size_t j = 0; j < 40; ++j) x[j * 41] = 1.0f + float(j % 7);
  layer.Observe(x);
  const GramView view(layer.gram, 40);
  const QuantSpec spec = Spec(4, 16, false);
  const OwnedBlock block = Rounded(Normal(random, 20 * 40), 40, spec, view);
  for (int64_t i = 0; i < 20 * 40; ++i) {
    const double wanted = Wanted(block, i);
    if (std::abs(wanted - std::floor(wanted) - 0.5) < 1e-3) continue;
    const double nearest = std::clamp(std::nearbyint(wanted), 0.0, double(spec.levels() - 1));
    EXPECT_EQ(double(block.q().codes[size_t(i)]), nearest) << i << ", wanted " << wanted;
  }
}

TEST(AdaroundRounding, CostsFarLessThanNearestWhereChannelsCorrelate) {
  double of_gptq = 0;
  for (uint32_t seed = 0; seed < 10; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    Layer layer;
    layer.k = 48 + int64_t(random() % 60);
    layer.tokens = 5 * layer.k;
    layer.Observe(CorrelatedInputs(random, layer.tokens, layer.k));
    layer.Add(Normal(random, 32 * layer.k), Spec(int(2 + random() % 3), 32, seed % 2 == 0));
    const auto loss = [&](const char* rounding) {
      return QuantizeSite(layer.Problem(), Pieces("none", "minmax", rounding)).linears[0];
    };
    const LinearResult learned = loss("adaround");
    EXPECT_LT(learned.loss, 0.6 * learned.loss_rtn);
    of_gptq += 0.1 * learned.loss / loss("gptq").loss;
  }
  EXPECT_LT(of_gptq, 0.95);
}

/// One rate of learning serves weights and inputs of any size, also far from 1.
TEST(AdaroundRounding, DoesNotDependOnTheUnitsOfWeightsAndInputs) {
  std::mt19937 random(97);
  const Values x = CorrelatedInputs(random, 60, 32);
  const Values w = Normal(random, 6 * 32);
  std::vector<std::vector<uint8_t>> codes;
  for (const float input : {0x1p-30f, 1.0f, 0x1p40f}) {
    for (const float weight : {0x1p-60f, 1.0f, 0x1p60f}) {
      Layer layer;
      layer.k = 32;
      Values scaled_x = x;
      for (float& value : scaled_x) value *= input;
      layer.Observe(scaled_x);
      Values scaled_w = w;
      for (float& value : scaled_w) value *= weight;
      const GramView view(layer.gram, 32);
      codes.push_back(Rounded(scaled_w, 32, Spec(3, 16, true), view).q().codes);
    }
  }
  for (const std::vector<uint8_t>& other : codes) EXPECT_EQ(other, codes.front());
}

}  // namespace
}  // namespace ptq::testing
