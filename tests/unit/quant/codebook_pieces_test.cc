// Every piece of a method on levels that are not evenly spaced, against naive definitions.
#include <limits>
#include <numeric>

#include "dense_reference.h"
#include "grid/group_grid.h"
#include "rounding/descent.h"
#include "rounding/refinement.h"
#include "scaling/scale_fit.h"

namespace ptq::testing {
namespace {

QuantSpec CodebookSpec(const Levels& levels, int64_t group, ScaleType type = ScaleType::kFloat32) {
  QuantSpec spec = Spec(4, group, true, type);
  spec.codebook = &levels;
  return spec;
}

/// Calls `test(spec, gram, random)` for specifications and Gram matrices of all kinds.
template <typename Test>
void ForEachCase(const Test& test) {
  for (uint32_t seed = 0; seed < 10; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const int64_t k = 1 + int64_t(random() % 80);
    const QuantSpec spec =
        CodebookSpec(seed % 2 == 0 ? Nf4Levels() : Fp4Levels(), seed % 3 == 0 ? 0 : 16,
                     seed % 4 < 2 ? ScaleType::kFloat32 : ScaleType::kFloat16);
    ForEachGram(random, k, [&](const TestedGram& gram) { test(spec, gram, random); });
  }
}

/// Random weights on the min-max grid, with random codes.
OwnedBlock RandomCodes(std::mt19937& random, int64_t k, const QuantSpec& spec,
                       const GramView& gram) {
  OwnedBlock block(Normal(random, 5 * k), k, spec);
  MakeMinmaxGrid(gram)(block.view());
  std::uniform_int_distribution<int> code(0, spec.levels() - 1);
  for (uint8_t& c : block.q().codes) c = uint8_t(code(random));
  return block;
}

struct BestLevel {
  int code = 0;
  double error = std::numeric_limits<double>::infinity();
};

BestLevel NearestOneByOne(double wanted, const Levels& levels) {
  BestLevel best;
  for (int code = 0; code < levels.count(); ++code) {
    const double error = std::abs(wanted - double(levels.value(code)));
    if (error < best.error) best = {code, error};
  }
  return best;
}

/// Absolute maximum, then the closest value: what bitsandbytes does.
TEST(CodebookPieces, MinmaxAndNearestAreAbsmaxAndTheClosestLevel) {
  std::mt19937 random(1);
  for (const Levels* levels : {&Nf4Levels(), &Fp4Levels()}) {
    const Values w = Normal(random, 6 * 70);
    const LinearResult result = QuantizeAlone(w, 70, CodebookSpec(*levels, 32));
    for (int64_t i = 0; i < 6 * 70; ++i) {
      const int64_t begin = i % 70 / 32 * 32;
      float largest = 0;
      for (int64_t j = begin; j < std::min<int64_t>(70, begin + 32); ++j) {
        largest = std::max(largest, std::abs(w[size_t(i / 70 * 70 + j)]));
      }
      ASSERT_EQ(result.q.scales[size_t(i / 70 * 3 + begin / 32)], largest);
      const BestLevel best = NearestOneByOne(double(w[size_t(i)]) / double(largest), *levels);
      const double own = double(levels->value(result.q.codes[size_t(i)]));
      ASSERT_NEAR(std::abs(double(w[size_t(i)]) / double(largest) - own), best.error, 1e-7);
    }
    EXPECT_EQ(result.loss, result.loss_rtn);
    EXPECT_NEAR(result.loss, NaiveLoss(Effective(result.q, {}), w, {}, 70), 1e-5 * result.loss);
  }
}

TEST(CodebookPieces, AGroupOfZerosStaysZero) {
  for (const Levels* levels : {&Nf4Levels(), &Fp4Levels()}) {
    for (const char* grid : {"minmax", "clip", "search", "block"}) {
      const LinearResult result =
          QuantizeAlone(Values(32, 0.0f), 32, CodebookSpec(*levels, 16), grid);
      EXPECT_EQ(result.loss, 0.0);
      EXPECT_EQ(result.q.scales, Values(2, 1.0f));
    }
  }
}

/// Σ over the group's channels of what nearest levels cost, by H's diagonal or its block.
double CostOf(const OwnedBlock& block, int64_t r, const Dense& h, int64_t begin, int64_t count,
              bool diagonal) {
  const Eigen::RowVectorXd delta = block.Delta(r).segment(begin, count);
  const Dense part = h.block(begin, begin, count, count);
  if (diagonal) return delta.cwiseAbs2().dot(part.diagonal());
  return (delta * part).dot(delta);
}

TEST(CodebookPieces, SearchedGridsCostNoMoreThanAnyScaleThatTheyTry) {
  int lower = 0;
  int all = 0;
  ForEachCase([&](const QuantSpec& spec, const TestedGram& gram, std::mt19937& random) {
    const int64_t k = gram.dense.rows();
    const Values w = Normal(random, 4 * k);
    for (const bool diagonal : {true, false}) {
      OwnedBlock block(w, k, spec);
      (diagonal ? MakeSearchGrid : MakeBlockGrid) (*gram.view)(block.view());
      MakeNearestRounding (*gram.view)(block.view());
      OwnedBlock other = block;
      const int64_t group = spec.GroupSizeFor(k);
      for (int64_t i = 0; i < 4 * spec.GroupsFor(k); ++i) {
        const int64_t r = i / spec.GroupsFor(k);
        const int64_t begin = i % spec.GroupsFor(k) * group;
        const int64_t count = std::min(group, k - begin);
        const double own = CostOf(block, r, gram.dense, begin, count, diagonal);
        double plain = 0;
        for (int step = -1; step < 24; ++step) {
          // 1.2 times the range puts a border of FP4 upon the largest weight: a tie.
          if (spec.codebook == &Fp4Levels() && step % 12 == 11) continue;
          float largest = 0;
          for (int64_t j = 0; j < count; ++j) {
            largest = std::max(largest, std::abs(w[size_t(r * k + begin + j)]));
          }
          double scale = double(largest);
          if (step >= 0) scale *= (step < 12 ? 1 : -1) * (0.5 + 0.7 * (step % 12) / 11);
          other.q().scales[size_t(i)] =
              spec.scale_type == ScaleType::kFloat16 ? RoundToHalf(float(scale)) : float(scale);
          for (int64_t j = begin; j < begin + count; ++j) {
            other.q().codes[size_t(r * k + j)] =
                spec.codebook->Nearest(w[size_t(r * k + j)] / other.q().scales[size_t(i)]);
          }
          const double cost = CostOf(other, r, gram.dense, begin, count, diagonal);
          if (step < 0) plain = cost;
          EXPECT_LE(own, cost * (1 + 1e-4) + 1e-9 * gram.dense.maxCoeff()) << i << ", " << step;
        }
        lower += own < 0.99 * plain;
        ++all;
      }
    }
  });
  EXPECT_GT(lower, all / 2);
}

/// GPTQ as Frantar et al. write it, one column at a time, with the inverse of H.
TEST(CodebookPieces, GptqGivesTheCodesOfTheTextbook) {
  int rows = 0;
  int ties = 0;
  ForEachCase([&](const QuantSpec& spec, const TestedGram& gram, std::mt19937& random) {
    const int64_t k = gram.dense.rows();
    if (gram.view->identity()) return;
    OwnedBlock block(Normal(random, 4 * k), k, spec);
    MakeSearchGrid (*gram.view)(block.view());
    MakeGptqRounding (*gram.view)(block.view());
    std::vector<int64_t> order(static_cast<size_t>(k));
    std::iota(order.begin(), order.end(), int64_t{0});
    std::ranges::stable_sort(order, [&](int64_t a, int64_t b) {
      return gram.view->diagonal(a) > gram.view->diagonal(b);
    });
    Dense h(k, k);
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < k; ++j) h(i, j) = gram.dense(order[size_t(i)], order[size_t(j)]);
    }
    h.diagonal().array() += 0.01 * gram.dense.diagonal().mean();
    const Dense upper = Dense(h.inverse()).llt().matrixU();
    for (int64_t r = 0; r < 4; ++r) {
      std::vector<double> w(static_cast<size_t>(k));
      for (size_t i = 0; i < w.size(); ++i) w[i] = double(block.w()[size_t(r * k + order[i])]);
      ++rows;
      for (size_t i = 0; i < w.size(); ++i) {
        const int64_t g = r * spec.GroupsFor(k) + order[i] / spec.GroupSizeFor(k);
        const double scale = double(block.q().scales[size_t(g)]);
        const BestLevel best = NearestOneByOne(w[i] / scale, *spec.codebook);
        const int code = block.q().codes[size_t(r * k + order[i])];
        if (code != best.code) {  // only where both are as near, and all that follows may differ
          const double own = std::abs(w[i] / scale - double(spec.codebook->value(code)));
          EXPECT_NEAR(own, best.error, 2e-3) << "row " << r;
          ++ties;
          break;
        }
        const double error =
            (w[i] - double(spec.codebook->value(code)) * scale) / upper(int64_t(i), int64_t(i));
        for (size_t j = i + 1; j < w.size(); ++j) w[j] -= error * upper(int64_t(i), int64_t(j));
      }
    }
  });
  EXPECT_LT(ties, rows / 10);
}

TEST(CodebookPieces, DescentRaisesNoLossAndEndsWhereNoOtherLevelCostsLess) {
  int lowered = 0;
  ForEachCase([&](const QuantSpec& spec, const TestedGram& gram, std::mt19937& random) {
    if (gram.view->identity()) return;
    const int64_t k = gram.dense.rows();
    OwnedBlock block = RandomCodes(random, k, spec, *gram.view);
    const Descent descent(*gram.view);
    for (int sweep = 0; sweep < 3; ++sweep) {
      const std::vector<double> before = block.Losses(gram.dense);
      descent.Run(block.view(), 1);
      const std::vector<double> after = block.Losses(gram.dense);
      for (size_t r = 0; r < after.size(); ++r) {
        EXPECT_LE(after[r], before[r] * (1 + 1e-5)) << "row " << r;
        lowered += after[r] < before[r];
      }
    }
    descent.Run(block.view(), 1000);
    for (int64_t r = 0; r < 5; ++r) {
      Eigen::RowVectorXd delta = block.Delta(r);
      const double loss = (delta * gram.dense).dot(delta);
      for (int64_t j = 0; j < k; ++j) {
        const int64_t g = r * spec.GroupsFor(k) + j / spec.GroupSizeFor(k);
        const double scale = double(block.q().scales[size_t(g)]);
        const double own = delta[j];
        const double from = double(spec.codebook->value(block.q().codes[size_t(r * k + j)]));
        for (int code = 0; code < spec.levels(); ++code) {
          const double step = (double(spec.codebook->value(code)) - from) * scale;
          delta[j] = own + step;
          // Nothing moves for less than it gains from .502 of the way to .498.
          const double margin = 0.0041 * gram.dense(j, j) * step * step + 1e-5 * loss;
          EXPECT_GE((delta * gram.dense).dot(delta), loss - margin) << r << ", " << j;
        }
        delta[j] = own;
      }
    }
  });
  EXPECT_GT(lowered, 500);
}

TEST(CodebookPieces, FittedScalesReachTheLeastLossForTheirCodes) {
  ForEachCase([&](const QuantSpec& spec, const TestedGram& gram, std::mt19937& random) {
    if (spec.scale_type == ScaleType::kFloat16) return;
    const int64_t k = gram.dense.rows();
    OwnedBlock block = RandomCodes(random, k, spec, *gram.view);
    const std::vector<double> before = block.Losses(gram.dense);
    FitScales(*gram.view, block.view());
    const std::vector<double> after = block.Losses(gram.dense);
    for (int64_t r = 0; r < 5; ++r) {
      Dense design = Dense::Zero(k, spec.GroupsFor(k));
      Eigen::VectorXd w(k);
      for (int64_t j = 0; j < k; ++j) {
        design(j, j / spec.GroupSizeFor(k)) =
            double(spec.codebook->value(block.q().codes[size_t(r * k + j)]));
        w[j] = double(block.w()[size_t(r * k + j)]);
      }
      const Dense a = design.transpose() * gram.dense * design;
      const Eigen::VectorXd scales =
          a.completeOrthogonalDecomposition().solve(design.transpose() * gram.dense * w);
      const Eigen::VectorXd delta = design * scales - w;
      const double least = delta.dot(gram.dense * delta);
      EXPECT_NEAR(after[size_t(r)], least, 2e-5 * before[size_t(r)]) << "row " << r;
    }
  });
}

TEST(CodebookPieces, AdaroundTakesOneOfTheTwoLevelsAroundAWeight) {
  std::mt19937 random(95);
  for (const Levels* levels : {&Nf4Levels(), &Fp4Levels()}) {
    ForEachGram(random, 40, [&](const TestedGram& gram) {
      OwnedBlock block(Normal(random, 9 * 40), 40, CodebookSpec(*levels, 16));
      MakeMinmaxGrid (*gram.view)(block.view());
      MakeAdaroundRounding (*gram.view)(block.view());
      for (int64_t i = 0; i < 9 * 40; ++i) {
        const float scale = block.q().scales[size_t(i / 40 * 3 + i % 40 / 16)];
        const float wanted = block.w()[size_t(i)] / scale;
        const int below = levels->Below(wanted);
        const int code = block.q().codes[size_t(i)];
        EXPECT_TRUE(code == below || code == below + 1) << i;
        EXPECT_LT(code, levels->count());
      }
    });
  }
}

TEST(CodebookPieces, RoundingsCostFarLessThanNearestWhereChannelsCorrelate) {
  for (const Levels* levels : {&Nf4Levels(), &Fp4Levels()}) {
    for (uint32_t seed = 0; seed < 5; ++seed) {
      SCOPED_TRACE("seed " + std::to_string(seed));
      std::mt19937 random(seed);
      Layer layer;
      layer.k = 64;
      layer.tokens = 400;
      layer.Observe(CorrelatedInputs(random, 400, 64));
      layer.Add(Normal(random, 32 * 64), CodebookSpec(*levels, 32));
      for (const char* rounding : {"gptq", "descent", "adaround"}) {
        const LinearResult result =
            QuantizeSite(layer.Problem(), Pieces("none", "minmax", rounding)).linears[0];
        EXPECT_LT(result.loss, 0.7 * result.loss_rtn) << rounding;
      }
    }
  }
}

TEST(CodebookPieces, RefinementRaisesNoLossAndPays) {
  double sum = 0;
  double count = 0;
  ForEachCase([&](const QuantSpec& spec, const TestedGram& gram, std::mt19937& random) {
    const int64_t k = gram.dense.rows();
    OwnedBlock block(Normal(random, 6 * k), k, spec);
    MakeSearchGrid (*gram.view)(block.view());
    MakeGptqRounding (*gram.view)(block.view());
    const std::vector<double> before = block.Losses(gram.dense);
    MakeRefinement(*gram.view, 3)(block.view());
    const std::vector<double> after = block.Losses(gram.dense);
    for (size_t r = 0; r < after.size(); ++r) {
      EXPECT_LE(after[r], before[r] * (1 + 1e-5) + 1e-12) << "row " << r;
      if (before[r] > 0) sum += after[r] / before[r];
      count += before[r] > 0 ? 1 : 0;
    }
  });
  EXPECT_LT(sum, 0.97 * count);
}

}  // namespace
}  // namespace ptq::testing
