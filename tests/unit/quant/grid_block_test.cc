// The block grid costs no more than any grid around it, on its own block of H.
#include "dense_reference.h"
#include "grid/group_grid.h"

namespace ptq::testing {
namespace {

/// What the codes of row r cost in the channels [begin, begin + count) alone.
double BlockCost(const OwnedBlock& block, int64_t r, const Dense& h, int64_t begin, int64_t count) {
  const Eigen::RowVectorXd delta = block.Delta(r).segment(begin, count);
  return (delta * h.block(begin, begin, count, count)).dot(delta);
}

TEST(BlockGrid, CostsNoMoreThanMinmaxNorAnyGridAroundIt) {
  int fitted = 0;
  int all = 0;
  for (uint32_t seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const int64_t k = 1 + int64_t(random() % 60);
    const QuantSpec spec = RandomSpec(random);
    ForEachGram(random, k, [&](const TestedGram& gram) {
      OwnedBlock block(Normal(random, 4 * k), k, spec);
      MakeBlockGrid (*gram.view)(block.view());
      MakeNearestRounding (*gram.view)(block.view());
      OwnedBlock other = block;
      for (int64_t i = 0; i < 4 * spec.GroupsFor(k); ++i) {
        const int64_t r = i / spec.GroupsFor(k);
        const int64_t begin = i % spec.GroupsFor(k) * 16;
        const int64_t count = std::min<int64_t>(16, k - begin);
        const double own = BlockCost(block, r, gram.dense, begin, count);
        const GroupRange range = RangeOf(block.w().data() + r * k + begin, count);
        double least = std::numeric_limits<double>::infinity();
        for (int index = -1; index < SearchCandidates(spec); ++index) {
          const GroupGrid grid =
              index < 0 ? GridOf(range, 1.0f, spec) : SearchCandidate(range, index, spec);
          other.q().scales[size_t(i)] = grid.scale;
          other.q().zero_points[size_t(i)] = grid.zero_point;
          RoundGroup(block.w().data() + r * k + begin, count, grid, spec,
                     other.q().codes.data() + r * k + begin);
          least = std::min(least, BlockCost(other, r, gram.dense, begin, count));
        }
        EXPECT_LE(own, least * (1 + 1e-4) + 1e-9 * gram.dense.maxCoeff()) << "group " << i;
        fitted += own < 0.999 * least;
        ++all;
      }
    });
  }
  EXPECT_GT(fitted, all / 3);
}

TEST(BlockGrid, BeatsTheSearchByTheDiagonalForNearestRounding) {
  double ratio = 0;
  for (uint32_t seed = 100; seed < 110; ++seed) {
    std::mt19937 random(seed);
    Layer layer;
    layer.k = 64;
    layer.Observe(CorrelatedInputs(random, 300, 64));
    layer.Add(Normal(random, 32 * 64), Spec(3, 16, true));
    ratio += 0.1 * QuantizeSite(layer.Problem(), Pieces("none", "block")).linears[0].loss /
             QuantizeSite(layer.Problem(), Pieces("none", "search")).linears[0].loss;
  }
  EXPECT_LT(ratio, 0.95);
}

}  // namespace
}  // namespace ptq::testing
