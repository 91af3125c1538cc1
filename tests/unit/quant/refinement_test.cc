// Each round of refinement pays, and no row gets worse.
#include "rounding/refinement.h"

#include "dense_reference.h"

namespace ptq::testing {
namespace {

TEST(Refinement, IsNothingForNoRounds) { EXPECT_EQ(MakeRefinement(GramView({}, 4), 0), nullptr); }

TEST(Refinement, RaisesTheLossOfNoRowAndGoesOnPayingRoundByRound) {
  double losses[3] = {};
  for (uint32_t seed = 0; seed < 10; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const int64_t k = 20 + int64_t(random() % 120);
    const ScaleType type = seed % 2 == 0 ? ScaleType::kFloat16 : ScaleType::kFloat32;
    const QuantSpec spec = Spec(3, 16, seed % 3 == 0, type);
    ForEachGram(random, k, [&](const TestedGram& gram) {
      const Values w = Normal(random, 6 * k);
      for (const int rounds : {1, 3}) {
        OwnedBlock block(w, k, spec);
        MakeSearchGrid (*gram.view)(block.view());
        MakeGptqRounding (*gram.view)(block.view());
        const std::vector<double> before = block.Losses(gram.dense);
        MakeRefinement(*gram.view, rounds)(block.view());
        const std::vector<double> after = block.Losses(gram.dense);
        for (size_t r = 0; r < after.size(); ++r) {
          EXPECT_LE(after[r], before[r] * (1 + 1e-5)) << "row " << r;
          losses[rounds / 2 + 1] += after[r] / before[r];
          losses[0] += 0.5;
        }
      }
    });
  }
  EXPECT_LT(losses[1], 0.99 * losses[0]);
  EXPECT_LT(losses[2], losses[1]);
}

}  // namespace
}  // namespace ptq::testing
