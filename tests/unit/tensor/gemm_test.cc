// Products, Gram matrices and cross moments against sums in double.
#include "ptq/tensor/gemm.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "ptq/base/parallel.h"

namespace ptq {
namespace {

constexpr uint32_t kSeed = 20240607;

std::vector<float> Random(int64_t count, std::mt19937& random) {
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = uniform(random);
  return values;
}

double At(const MatrixView& matrix, int64_t row, int64_t col) {
  if (matrix.transposed) std::swap(row, col);
  return matrix.data[row * matrix.stride + col];
}

struct Case {
  int64_t m, n, k, padding;
};

/// Compares with sums in double for all four forms of transposition.
void ExpectMatchesDefinition(const Case& size) {
  SCOPED_TRACE(::testing::Message() << "seed " << kSeed << ": " << size.m << " x " << size.n
                                    << " x " << size.k << " padding " << size.padding);
  std::mt19937 random(kSeed);
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      const int64_t ar = ta ? size.k : size.m, ac = ta ? size.m : size.k;
      const int64_t br = tb ? size.n : size.k, bc = tb ? size.k : size.n;
      const auto a_data = Random(ar * (ac + size.padding), random);
      const auto b_data = Random(br * (bc + size.padding), random);
      const MatrixView a{a_data.data(), ar, ac, ac + size.padding, ta};
      const MatrixView b{b_data.data(), br, bc, bc + size.padding, tb};
      const int64_t stride = size.n + size.padding;
      const auto before = Random(size.m * stride, random);
      auto c = before;
      Gemm(0.5f, a, b, 2.0f, c.data(), stride);
      for (int64_t i = 0; i < size.m; ++i) {
        for (int64_t j = 0; j < stride; ++j) {
          const auto at = static_cast<size_t>(i * stride + j);
          if (j >= size.n) {
            ASSERT_EQ(c[at], before[at]) << "written beyond the columns";
            continue;
          }
          double sum = 0;
          for (int64_t l = 0; l < size.k; ++l) sum += At(a, i, l) * At(b, l, j);
          ASSERT_NEAR(c[at], 0.5 * sum + 2.0 * double{before[at]}, 1e-6 * double(size.k + 8))
              << ta << tb << " at " << i << ", " << j;
        }
      }
    }
  }
}

TEST(Gemm, MatchesTheDefinitionForSmallAndOddSizes) {
  for (const Case& size : {Case{1, 1, 1, 0}, Case{1, 7, 5, 3}, Case{5, 1, 9, 1}, Case{13, 17, 3, 2},
                           Case{31, 33, 65, 0}}) {
    ExpectMatchesDefinition(size);
  }
}

// More than 2^20 multiply-adds and more than one tile of 512, with a rest.
TEST(Gemm, MatchesTheDefinitionWhenCutIntoTilesOfColumns) {
  ExpectMatchesDefinition({33, 1031, 37, 5});
}
TEST(Gemm, MatchesTheDefinitionWhenCutIntoTilesOfRows) {
  ExpectMatchesDefinition({1031, 33, 37, 5});
}

TEST(Gemm, GivesTheSameBitsForAnyNumberOfThreads) {
  std::mt19937 random(kSeed);
  const int64_t m = 70, n = 1100, k = 64;
  const auto a = Random(m * k, random);
  const auto b = Random(k * n, random);
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2}) {
    const ThreadLimit limit(threads);
    std::vector<float> c(static_cast<size_t>(m * n));
    Gemm(1, {a.data(), m, k, k}, {b.data(), k, n, n}, 0, c.data(), n);
    results.push_back(std::move(c));
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST(Gemm, WithoutInnerDimensionScalesWhatIsThere) {
  std::vector<float> c = {1, 2, 3, 4};
  const float none = 0;
  Gemm(1, {&none, 2, 0, 1}, {&none, 0, 2, 2}, 3, c.data(), 2);
  EXPECT_EQ(c, (std::vector<float>{3, 6, 9, 12}));
}

TEST(Gemm, DoesNotReadTheResultWhenBetaIsZero) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float none = 0;
  std::vector<float> c = {nan, nan};
  Gemm(1, {&none, 1, 0, 1}, {&none, 0, 2, 2}, 0, c.data(), 2);
  EXPECT_EQ(c, (std::vector<float>{0, 0}));
  const std::vector<float> ones = {1, 1};
  c = {nan, nan};
  Gemm(1, {ones.data(), 1, 1, 1}, {ones.data(), 1, 2, 2}, 0, c.data(), 2);
  EXPECT_EQ(c, (std::vector<float>{1, 1}));
}

TEST(AccumulateCross, MatchesSumsInDouble) {
  std::mt19937 random(kSeed);
  const int64_t rows = 19, k = 515;  // a tile of 512 with a rest
  const auto a = Random(rows * k, random), b = Random(rows * k, random);
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2}) {
    const ThreadLimit limit(threads);
    std::vector<float> cross(static_cast<size_t>(k * k), 0.25f);
    const auto parts = [&](std::span<const float> all) {
      return std::vector<std::span<const float>>{all.first(size_t(7 * k)), all.first(0),
                                                 all.subspan(size_t(7 * k))};
    };
    AccumulateCross(parts(a), parts(b), k, cross.data());
    results.push_back(std::move(cross));
  }
  EXPECT_EQ(results[0], results[1]);
  for (int64_t i = 0; i < k; i += 3) {
    for (int64_t j = 0; j < k; ++j) {
      double sum = 0.25;
      for (int64_t r = 0; r < rows; ++r) {
        sum +=
            double{a[static_cast<size_t>(r * k + i)]} * double{b[static_cast<size_t>(r * k + j)]};
      }
      ASSERT_NEAR(results[0][static_cast<size_t>(i * k + j)], sum, 1e-5) << i << ", " << j;
    }
  }
}

TEST(AccumulateGram, MatchesSumsInDoubleInTheLowerTriangle) {
  std::mt19937 random(kSeed);
  const int64_t rows = 19, k = 259;  // two tiles of 256 with a rest
  const auto x = Random(rows * k, random);
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2}) {
    const ThreadLimit limit(threads);
    std::vector<float> gram(static_cast<size_t>(k * k), 0.25f);
    const std::span<const float> all = x;
    const std::vector<std::span<const float>> parts = {all.first(size_t(7 * k)), all.first(0),
                                                       all.subspan(size_t(7 * k))};
    AccumulateGram(parts, k, gram.data());
    results.push_back(std::move(gram));
  }
  EXPECT_EQ(results[0], results[1]);
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      double sum = 0.25;
      for (int64_t r = 0; r < rows; ++r) {
        sum +=
            double{x[static_cast<size_t>(r * k + i)]} * double{x[static_cast<size_t>(r * k + j)]};
      }
      ASSERT_NEAR(results[0][static_cast<size_t>(i * k + j)], sum, 1e-5) << i << ", " << j;
    }
  }
}

}  // namespace
}  // namespace ptq
