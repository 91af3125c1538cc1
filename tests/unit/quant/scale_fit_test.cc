// Fitted scales reach the least loss that least squares can give the codes.
#include "scaling/scale_fit.h"

#include "dense_reference.h"

namespace ptq::testing {
namespace {

/// A block with random codes, and scales that are somewhat off.
OwnedBlock RandomBlock(std::mt19937& random, int64_t rows, int64_t k, const QuantSpec& spec,
                       const GramView& gram) {
  OwnedBlock block(Normal(random, rows * k), k, spec);
  MakeMinmaxGrid(gram)(block.view());
  MakeNearestRounding(gram)(block.view());
  const Values noise = Normal(random, int64_t(block.q().codes.size()), 0.7f);
  for (size_t i = 0; i < noise.size(); ++i) {
    const float code = std::nearbyint(float(block.q().codes[i]) + noise[i]);
    block.q().codes[i] = uint8_t(std::clamp(code, 0.0f, float(spec.levels() - 1)));
  }
  return block;
}

/// The least loss that any scales give the codes of row r: least squares with one column a group.
double LeastLoss(const OwnedBlock& block, const Dense& h, int64_t r) {
  const QuantizedMatrix& q = block.q();
  const int64_t groups = q.spec.GroupsFor(q.k);
  Dense design = Dense::Zero(q.k, groups);
  Eigen::VectorXd w(q.k);
  for (int64_t j = 0; j < q.k; ++j) {
    const int64_t g = j / q.spec.GroupSizeFor(q.k);
    design(j, g) =
        double(int(q.codes[size_t(r * q.k + j)]) - int(q.zero_points[size_t(r * groups + g)]));
    w[j] = double(block.w()[size_t(r * q.k + j)]);
  }
  const Dense a = design.transpose() * h * design;
  const Eigen::VectorXd scales =
      a.completeOrthogonalDecomposition().solve(design.transpose() * h * w);
  const Eigen::VectorXd delta = design * scales - w;
  return delta.dot(h * delta);
}

TEST(ScaleFit, ReachesTheLeastLossThatScalesCanGive) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const int64_t k = 1 + int64_t(random() % 70);
    const int64_t group = std::vector<int64_t>{0, 3, 16, 32}[random() % 4];
    const QuantSpec spec = Spec(int(2 + random() % 3), group, seed % 2 == 0);
    ForEachGram(random, k, [&](const TestedGram& gram) {
      OwnedBlock block = RandomBlock(random, 4, k, spec, *gram.view);
      const std::vector<double> before = block.Losses(gram.dense);
      FitScales(*gram.view, block.view());
      const std::vector<double> after = block.Losses(gram.dense);
      for (int64_t r = 0; r < 4; ++r) {
        const double least = LeastLoss(block, gram.dense, r);
        EXPECT_LE(after[size_t(r)], least + 2e-5 * before[size_t(r)]) << "row " << r;
        EXPECT_GE(after[size_t(r)], least - 1e-5 * before[size_t(r)]) << "row " << r;
      }
    });
  }
}

TEST(ScaleFit, RaisesTheLossOfNoRowWithStoredScales) {
  int lowered = 0;
  for (uint32_t seed = 100; seed < 130; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const int64_t k = 1 + int64_t(random() % 70);
    const QuantSpec spec = Spec(3, 16, seed % 2 == 0, ScaleType::kFloat16);
    ForEachGram(random, k, [&](const TestedGram& gram) {
      OwnedBlock block = RandomBlock(random, 4, k, spec, *gram.view);
      const std::vector<double> before = block.Losses(gram.dense);
      FitScales(*gram.view, block.view());
      const std::vector<double> after = block.Losses(gram.dense);
      for (size_t r = 0; r < 4; ++r) {
        EXPECT_LE(after[r], before[r] * (1 + 1e-5)) << "row " << r;
        lowered += after[r] < 0.999 * before[r];
      }
      for (const float scale : block.q().scales) {
        EXPECT_EQ(scale, RoundToHalf(scale));
        EXPECT_NE(scale, 0.0f);
      }
    });
  }
  EXPECT_GT(lowered, 500);
}

TEST(ScaleFit, FindsTheScalesThatMadeTheWeights) {
  std::mt19937 random(50);
  const TestedGram gram(random, 40, 200, true, false);
  const QuantSpec spec = Spec(4, 8, true, ScaleType::kFloat16);
  OwnedBlock block = RandomBlock(random, 6, 40, spec, *gram.view);
  Values made(6 * 40);
  block.q().Dequantize(made.data());
  OwnedBlock moved(made, 40, spec);
  moved.q() = block.q();
  for (float& scale : moved.q().scales) scale = RoundToHalf(scale * 1.07f);
  FitScales(*gram.view, moved.view());
  EXPECT_EQ(moved.q().scales, block.q().scales);
}

TEST(ScaleFit, KeepsTheScalesOfGroupsWhoseCodesAreAllZero) {
  std::mt19937 random(51);
  const TestedGram gram(random, 24, 100, false, false);
  OwnedBlock block = RandomBlock(random, 2, 24, Spec(4, 8, true), *gram.view);
  std::fill_n(block.q().codes.begin(), 8, uint8_t{8});
  const float before = block.q().scales[0];
  FitScales(*gram.view, block.view());
  EXPECT_FLOAT_EQ(block.q().scales[0], before);
  std::fill(block.q().codes.begin(), block.q().codes.end(), uint8_t{8});
  const Values all = block.q().scales;
  FitScales(*gram.view, block.view());
  EXPECT_EQ(block.q().scales, all);
}

/// Of which only some rows are held at once: every weight has its own scale, so none has an error.
TEST(ScaleFit, SolvesManyLargeSystems) {
  std::mt19937 random(52);
  const TestedGram gram(random, 300, 0, false, false);
  OwnedBlock block = RandomBlock(random, 60, 300, Spec(4, 1, true), *gram.view);
  for (uint8_t& code : block.q().codes) code = code == 8 ? 9 : code;
  FitScales(*gram.view, block.view());
  for (const double loss : block.Losses(gram.dense)) EXPECT_LT(loss, 1e-6);
}

}  // namespace
}  // namespace ptq::testing
