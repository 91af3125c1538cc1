// Every operation of a GramView against the same on a dense matrix of doubles.
#include "gram_view.h"

#include <limits>

#include "dense_reference.h"

namespace ptq::testing {
namespace {

constexpr int64_t kRows = 5;

/// Within single precision of the size of the terms that are summed.
void ExpectNear(double actual, double expected, double terms) {
  EXPECT_NEAR(actual, expected, 2e-6 * terms);
}

TEST(GramView, GivesTheLossOfEachRowAndTheSameWithoutShrinkage) {
  std::mt19937 random(31);
  for (const int64_t k : {1, 7, 40}) {
    ForEachGram(
        random, k,
        [&](const TestedGram& gram) {
          const Values rows = Normal(random, kRows * k);
          const Dense delta = DenseRows(rows, k);
          const Dense& raw_gram = gram.raw;
          Values overwritten = rows;
          std::vector<double> losses(kRows), raw(kRows);
          gram.view->RowLosses(overwritten.data(), kRows, 0, k, losses.data(), raw.data());
          for (int64_t r = 0; r < kRows; ++r) {
            const double terms =
                delta.row(r).cwiseAbs() * raw_gram.cwiseAbs() * delta.row(r).cwiseAbs().transpose();
            ExpectNear(losses[size_t(r)], (delta.row(r) * gram.dense).dot(delta.row(r)), terms);
            ExpectNear(raw[size_t(r)], (delta.row(r) * raw_gram).dot(delta.row(r)), terms);
          }
        },
        /*with_noise=*/true);
  }
}

TEST(GramView, GivesTheLossOfADiagonalBlock) {
  std::mt19937 random(32);
  ForEachGram(
      random, 40,
      [&](const TestedGram& gram) {
        const Values rows = Normal(random, kRows * 11);
        const Dense delta = DenseRows(rows, 11);
        const Dense block = gram.dense.block(17, 17, 11, 11);
        Values overwritten = rows;
        std::vector<double> losses(kRows);
        gram.view->RowLosses(overwritten.data(), kRows, 17, 11, losses.data());
        for (int64_t r = 0; r < kRows; ++r) {
          ExpectNear(losses[size_t(r)], (delta.row(r) * block).dot(delta.row(r)),
                     block.cwiseAbs().sum() * delta.row(r).squaredNorm());
        }
      },
      /*with_noise=*/true);
}

TEST(GramView, CallsTheLossOfAnErrorThatIsNotFiniteInfinite) {
  std::mt19937 random(33);
  const TestedGram gram(random, 8, 40, true, false);
  Values rows(16, 1.0f);
  rows[3] = std::numeric_limits<float>::infinity();
  double losses[2];
  gram.view->RowLosses(rows.data(), 2, 0, 8, losses);
  EXPECT_EQ(losses[0], std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isfinite(losses[1]));
}

TEST(GramView, GivesEnergiesWithoutShrinkage) {
  std::mt19937 random(34);
  const TestedGram gram(random, 20, 60, true, false);
  const Values w = Normal(random, kRows * 20);
  double energies[kRows];
  gram.view->RowEnergies(w.data(), kRows, energies);
  const Dense dense = DenseRows(w, 20);
  const Dense h = DenseGram(gram.lower, 20);
  for (int64_t r = 0; r < kRows; ++r) {
    const double expected = (dense.row(r) * h).dot(dense.row(r));
    EXPECT_NEAR(energies[r], expected, 1e-5 * expected);
  }
}

TEST(GramView, MultipliesRowsWithItself) {
  std::mt19937 random(35);
  for (const int64_t k : {1, 7, 40}) {
    ForEachGram(
        random, k,
        [&](const TestedGram& gram) {
          const Values rows = Normal(random, kRows * k);
          const Dense expected = DenseRows(rows, k) * gram.dense;
          const double terms = gram.dense.cwiseAbs().maxCoeff() * double(k);
          const int64_t middle = k / 3;
          const int64_t cols[][2] = {{0, k}, {0, k - middle}, {middle, k - middle}, {middle, 1}};
          for (const auto& [begin, count] : cols) {
            Values part(size_t(kRows * count), std::nanf(""));
            gram.view->Gradient(rows.data(), kRows, begin, count, part.data());
            for (int64_t i = 0; i < kRows * count; ++i) {
              ExpectNear(part[size_t(i)], expected(i / count, begin + i % count), terms);
            }
          }
        },
        /*with_noise=*/true);
  }
}

TEST(GramView, MultipliesRowsWithADiagonalBlock) {
  std::mt19937 random(36);
  ForEachGram(
      random, 40,
      [&](const TestedGram& gram) {
        const Values rows = Normal(random, kRows * 13);
        const Dense expected = DenseRows(rows, 13) * gram.dense.block(20, 20, 13, 13);
        Values product(kRows * 13, std::nanf(""));
        gram.view->BlockGradient(rows.data(), kRows, 20, 13, product.data());
        for (int64_t i = 0; i < kRows * 13; ++i) {
          ExpectNear(product[size_t(i)], expected(i / 13, i % 13), 13 * gram.dense.maxCoeff());
        }
      },
      /*with_noise=*/true);
}

TEST(GramView, ShowsItsDiagonalAndDiagonalBlocks) {
  std::mt19937 random(37);
  ForEachGram(
      random, 30,
      [&](const TestedGram& gram) {
        Values block(7 * 7, std::nanf(""));
        gram.view->Block(21, 7, block.data());
        for (int64_t i = 0; i < 7; ++i) {
          ExpectNear(gram.view->diagonal(21 + i), gram.dense(21 + i, 21 + i),
                     gram.dense(21 + i, 21 + i));
          for (int64_t j = 0; j < 7; ++j) {
            const double expected = gram.dense(21 + i, 21 + j);
            ExpectNear(block[size_t(i * 7 + j)], expected, std::abs(expected));
          }
        }
      },
      /*with_noise=*/true);
}

TEST(GramView, GivesTheFormsOfAllPairsOfGroups) {
  std::mt19937 random(38);
  for (const int64_t group : {1, 7, 16, 40}) {
    ForEachGram(
        random, 40,
        [&](const TestedGram& gram) {
          const int64_t groups = (40 + group - 1) / group;
          const Values rows = Normal(random, kRows * 40, 4.0f);
          const Dense u = DenseRows(rows, 40);
          Values forms(size_t(kRows * groups * groups), -1.0f);
          gram.view->GroupForms(rows.data(), kRows, group, forms.data());
          for (int64_t i = 0; i < kRows * groups * groups; ++i) {
            const int64_t r = i / groups / groups;
            const int64_t a = i / groups % groups * group;
            const int64_t b = i % groups * group;
            if (b > a) {
              EXPECT_EQ(forms[size_t(i)], -1.0f);
              continue;
            }
            const int64_t na = std::min(group, 40 - a);
            const int64_t nb = std::min(group, 40 - b);
            const double expected = u.row(r).segment(a, na) * gram.dense.block(a, b, na, nb) *
                                    u.row(r).segment(b, nb).transpose();
            ExpectNear(forms[size_t(i)], expected, 40 * 16 * gram.dense.maxCoeff());
          }
        },
        /*with_noise=*/true);
  }
}

TEST(GramView, PutsChannelsIntoAnotherOrder) {
  std::mt19937 random(39);
  ForEachGram(
      random, 100,
      [&](const TestedGram& gram) {
        std::vector<int64_t> order(100);
        std::iota(order.begin(), order.end(), int64_t{0});
        std::ranges::shuffle(order, random);
        std::vector<double> permuted(100 * 100, -1.0);
        gram.view->Permuted(order, permuted.data());
        for (int64_t i = 0; i < 100; ++i) {
          for (int64_t j = 0; j < 100; ++j) {
            const double expected = j > i ? -1.0 : gram.dense(order[size_t(i)], order[size_t(j)]);
            EXPECT_NEAR(permuted[size_t(i * 100 + j)], expected, 1e-12 * std::abs(expected));
          }
        }
      },
      /*with_noise=*/true);
}

TEST(GramView, TellsWhetherAMatrixCanBeUsed) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(IsUsableGram(Values{1, kNan, -1, 2}, 2));
  EXPECT_TRUE(IsUsableGram(Values{0, kNan, 0, 0}, 2));
  EXPECT_FALSE(IsUsableGram(Values{1, 0, kNan, 2}, 2));
  EXPECT_FALSE(IsUsableGram(Values{1, 0, -kInfinity, 2}, 2));
  EXPECT_FALSE(IsUsableGram(Values{1, 0, 0, kInfinity}, 2));
  EXPECT_FALSE(IsUsableGram(Values{1, 0, 0, -1e-30f}, 2));
}

TEST(Shrinkage, FallsWithTheTokensOfAChannel) {
  EXPECT_EQ(ShrinkageFor(64, 0), 1.0);
  EXPECT_EQ(ShrinkageFor(64, 4 * 64), 0.5);
  EXPECT_EQ(ShrinkageFor(64, 12 * 64), 0.25);
  EXPECT_LT(ShrinkageFor(64, 1000000), 3e-4);
}

}  // namespace
}  // namespace ptq::testing
