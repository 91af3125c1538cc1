// No row's loss rises, and in the end no other code costs less.
#include "rounding/descent.h"

#include "dense_reference.h"

namespace ptq::testing {
namespace {

const QuantSpec kSpecs[] = {Spec(2, 0, true), Spec(3, 16, false), Spec(4, 8, true),
                            Spec(4, 32, true, ScaleType::kFloat16), Spec(8, 0, false)};

/// Random weights on the min-max grid, rounded to nearest or at random.
OwnedBlock RandomBlock(std::mt19937& random, int64_t rows, int64_t k, const QuantSpec& spec,
                       bool nearest, const GramView& gram) {
  OwnedBlock block(Normal(random, rows * k), k, spec);
  MakeMinmaxGrid(gram)(block.view());
  if (nearest) {
    MakeNearestRounding(gram)(block.view());
  } else {
    std::uniform_int_distribution<int> code(0, spec.levels() - 1);
    for (uint8_t& c : block.q().codes) c = uint8_t(code(random));
  }
  return block;
}

TEST(Descent, RaisesTheLossOfNoRow) {
  int lowered = 0;
  for (uint32_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const int64_t k = 1 + int64_t(random() % 150);  // one block of columns, or two
    ForEachGram(random, k, [&](const TestedGram& gram) {
      OwnedBlock block = RandomBlock(random, 6, k, kSpecs[seed % 5], seed % 2 == 0, *gram.view);
      const Descent descent(*gram.view);
      for (int sweep = 0; sweep < 3; ++sweep) {
        const std::vector<double> before = block.Losses(gram.dense);
        descent.Run(block.view(), 1);
        const std::vector<double> after = block.Losses(gram.dense);
        for (size_t r = 0; r < after.size(); ++r) {
          EXPECT_LE(after[r], before[r] * (1 + 1e-5)) << "row " << r << ", sweep " << sweep;
          lowered += after[r] < before[r];
        }
      }
    });
  }
  EXPECT_GT(lowered, 2000);
}

TEST(Descent, EndsWhereNoOtherCodeCostsLess) {
  for (uint32_t seed = 100; seed < 115; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const int64_t k = 1 + int64_t(random() % 30);
    ForEachGram(random, k, [&](const TestedGram& gram) {
      if (gram.view->identity()) return;
      const QuantSpec& spec = kSpecs[seed % 4];
      OwnedBlock block = RandomBlock(random, 4, k, spec, true, *gram.view);
      Descent(*gram.view).Run(block.view(), 1000);
      for (int64_t r = 0; r < 4; ++r) {
        Eigen::RowVectorXd delta = block.Delta(r);
        const double loss = (delta * gram.dense).dot(delta);
        for (int64_t j = 0; j < k; ++j) {
          const int64_t g = r * spec.GroupsFor(k) + j / spec.GroupSizeFor(k);
          const double scale = double(block.q().scales[size_t(g)]);
          const double own = delta[j];
          // Nothing moves for less than it gains from 0.502 codes off to 0.498.
          const double margin = 0.0041 * gram.dense(j, j) * scale * scale + 1e-5 * loss;
          for (int code = 0; code < spec.levels(); ++code) {
            delta[j] = own + double(code - int(block.q().codes[size_t(r * k + j)])) * scale;
            EXPECT_GE((delta * gram.dense).dot(delta), loss - margin)
                << "row " << r << ", column " << j << ", code " << code;
          }
          delta[j] = own;
        }
      }
    });
  }
}

TEST(Descent, LeavesCodesWhereNothingIsKnownOrNothingCosts) {
  std::mt19937 random(5);
  Layer layer;
  layer.k = 20;
  layer.Observe(Values(40, 0.0f));
  for (const Values& gram : {Values(), layer.gram}) {
    const GramView view(gram, 20);
    OwnedBlock block = RandomBlock(random, 3, 20, kSpecs[1], true, view);
    const std::vector<uint8_t> before = block.q().codes;
    Descent(view).Run(block.view(), 3);
    EXPECT_EQ(block.q().codes, before);
  }
}

/// Where even float's range ends nothing may get worse.
TEST(Descent, RaisesNoLossOfHugeAndTinyNumbers) {
  std::mt19937 random(6);
  const QuantSpec spec = Spec(4, 8, true);
  for (const float input : {1e-18f, 1e-10f, 1e10f, 1e17f}) {
    for (const float weight : {1e-30f, 1e-25f, 1e-24f, 1e-15f, 1e15f, 1e30f}) {
      Layer layer;
      layer.k = 24;
      Values x = CorrelatedInputs(random, 50, 24);
      for (float& value : x) value *= input;
      layer.Observe(x);
      const GramView view(layer.gram, 24);
      OwnedBlock block(Normal(random, 4 * 24, weight), 24, spec);
      MakeMinmaxGrid(view)(block.view());
      MakeNearestRounding(view)(block.view());
      const Dense h = DenseGram(layer.gram, 24);
      const std::vector<double> before = block.Losses(h);
      Descent(view).Run(block.view(), 3);
      const std::vector<double> after = block.Losses(h);
      for (size_t r = 0; r < after.size(); ++r) {
        EXPECT_LE(after[r], before[r] * (1 + 1e-5)) << input << " " << weight;
      }
    }
  }
}

TEST(DescentRounding, CostsFarLessThanNearestWhereChannelsCorrelate) {
  for (uint32_t seed = 200; seed < 210; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    Layer layer;
    layer.k = 64;
    layer.Observe(CorrelatedInputs(random, 400, 64));
    layer.Add(Normal(random, 32 * 64), Spec(3, 32, true));
    const LinearResult result =
        QuantizeSite(layer.Problem(), Pieces("none", "minmax", "descent")).linears[0];
    EXPECT_LT(result.loss, 0.7 * result.loss_rtn);
  }
}

}  // namespace
}  // namespace ptq::testing
