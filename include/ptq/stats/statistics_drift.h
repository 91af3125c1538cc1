// How far what one set of samples shows of a site is from what another shows.
#pragma once

#include "ptq/stats/site_statistics.h"

namespace ptq {

struct StatisticsDrift {
  /// Σ |m − m'| ÷ Σ m over the channels, of the mean absolute values m before and m' now; 0: none.
  double mean_abs = 0;
  /// What of the leading subspace of the Gram matrix is not in that of the other: 1 − ‖UᵀU'‖² ÷ r
  /// for orthonormal bases U, U' [K, r] of the r leading eigenvectors, r at most 8. 0: the same
  /// subspace, 1: orthogonal ones. NaN where a Gram matrix is missing.
  double subspace = 0;
};

/// Both have seen tokens, of the same K. Bases by orthogonal iteration from a fixed start, so the
/// result is the same for any number of threads.
/// Source: Golub and Van Loan, Matrix Computations, 8.2.4 (orthogonal iteration), 6.4.3 (angles
/// between subspaces).
[[nodiscard]] StatisticsDrift DriftBetween(const SiteStatistics& before, const SiteStatistics& now);

}  // namespace ptq
