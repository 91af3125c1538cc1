// Compares mean absolute values, and the subspaces that most of the energy is in.
#include "ptq/stats/statistics_drift.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "ptq/base/error.h"
#include "ptq/base/interrupt.h"

namespace ptq {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Basis = Eigen::MatrixXf;

constexpr int64_t kLeading = 8;  ///< eigenvectors that are compared
constexpr int64_t kMore = 8;     ///< that are iterated with them, so that those converge
constexpr int kIterations = 30;  ///< more than samples justify

Basis Orthonormal(const Basis& columns) {
  const Eigen::HouseholderQR<Basis> qr(columns);
  return qr.householderQ() * Basis::Identity(columns.rows(), columns.cols());
}

/// The leading eigenvectors of the Gram matrix, [K, r].
Basis LeadingVectors(const SiteStatistics& statistics) {
  const int64_t k = statistics.k();
  const int64_t width = std::min(k, kLeading + kMore);
  const Eigen::Map<const Matrix> gram(statistics.gram().data(), k, k);
  std::mt19937 generator(1);
  Basis basis(k, width);
  for (float& value : basis.reshaped()) {
    value = float(generator()) / float(std::mt19937::max()) - 0.5f;
  }
  basis = Orthonormal(basis);
  for (int i = 0; i < kIterations; ++i) {
    CheckInterrupt();
    basis = Orthonormal(gram.selfadjointView<Eigen::Lower>() * basis);
  }
  // Of the subspace that was found, the directions of most energy (Rayleigh-Ritz).
  const Basis projected = basis.transpose() * (gram.selfadjointView<Eigen::Lower>() * basis);
  const Eigen::SelfAdjointEigenSolver<Basis> solver(projected);
  const int64_t leading = std::min(width, kLeading);
  return basis * solver.eigenvectors().rightCols(leading);
}

}  // namespace

StatisticsDrift DriftBetween(const SiteStatistics& before, const SiteStatistics& now) {
  if (before.k() != now.k()) throw InternalError("statistics of sites of two widths");
  StatisticsDrift drift;
  double change = 0, whole = 0;
  const std::vector<float> a = before.MeanAbs(), b = now.MeanAbs();
  for (size_t i = 0; i < a.size(); ++i) {
    change += std::abs(double{a[i]} - double{b[i]});
    whole += a[i];
  }
  drift.mean_abs = whole > 0 ? change / whole : 0;
  if (before.gram().empty() || now.gram().empty()) {
    drift.subspace = std::numeric_limits<double>::quiet_NaN();
    return drift;
  }
  const Basis u = LeadingVectors(before), v = LeadingVectors(now);
  const double common = double((u.transpose() * v).squaredNorm()) / double(u.cols());
  drift.subspace = std::clamp(1 - common, 0.0, 1.0);
  return drift;
}

}  // namespace ptq
