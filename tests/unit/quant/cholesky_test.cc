// Factors of small and large matrices give those matrices back.
#include "rounding/cholesky.h"

#include "dense_reference.h"

namespace ptq::testing {
namespace {

/// Row-major A of which only the lower triangle holds numbers.
std::vector<double> Lower(const Dense& a) {
  std::vector<double> lower(size_t(a.size()), std::nan(""));
  for (int64_t i = 0; i < a.rows(); ++i) {
    for (int64_t j = 0; j <= i; ++j) lower[size_t(i * a.cols() + j)] = a(i, j);
  }
  return lower;
}

Dense PositiveDefinite(std::mt19937& random, int64_t k) {
  const Dense x = DenseRows(Normal(random, 2 * k * k), k);
  return x.transpose() * x + Dense::Identity(k, k);
}

TEST(Cholesky, FindsTheFactorOfMatricesOfOneAndOfManyPanels) {
  std::mt19937 random(41);
  for (const int64_t k : {1, 50, 192, 193, 500}) {
    const Dense a = PositiveDefinite(random, k);
    std::vector<double> factor = Lower(a);
    ASSERT_TRUE(Cholesky(factor.data(), k));
    Dense l = Dense::Zero(k, k);
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j <= i; ++j) l(i, j) = factor[size_t(i * k + j)];
    }
    EXPECT_LT((l * l.transpose() - a).norm(), 1e-13 * a.norm()) << k;
  }
}

TEST(Cholesky, TellsThatAMatrixIsNotPositiveDefinite) {
  std::mt19937 random(42);
  for (const int64_t k : {3, 200, 400}) {
    for (const double bad : {-1e6, 0.0, std::nan("")}) {
      for (const int64_t at : {int64_t{0}, k - 1}) {
        Dense a = PositiveDefinite(random, k);
        a(at, at) = bad;
        std::vector<double> factor = Lower(a);
        EXPECT_FALSE(Cholesky(factor.data(), k)) << k << ", " << bad << " at " << at;
      }
    }
    Dense a = PositiveDefinite(random, k);
    a(k - 1, 0) = std::nan("");
    std::vector<double> factor = Lower(a);
    EXPECT_FALSE(Cholesky(factor.data(), k));
  }
}

}  // namespace
}  // namespace ptq::testing
