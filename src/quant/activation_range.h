// Levels of activations that are found beforehand: for all runs, from what calibration has seen.
#pragma once

#include <span>

#include "ptq/quant/method.h"

namespace ptq {

/// The levels for x / s, as many as the problem says, by the rule for their range; s and the codes
/// of W·diag(s) are those of `site`. Besides min-max, rules look at the problem's sample, and give
/// way to min-max where they lose more: by Σ ‖Ŵ·(Q(x/s) − x/s)‖² over its tokens and the linears,
/// in which nothing is assumed of the errors, and what the extremes of each channel lose, which a
/// sample seldom has. Without a sample the range is min-max.
///
/// MSE: both ends are searched for the least Σ_j ‖ŵ_j‖² (Q(x_j/s_j) − x_j/s_j)², the same with
/// errors of different channels taken as independent (ŵ_j: what channel j is multiplied with).
/// Entropy: Migacz, 8-bit Inference with TensorRT (2017), with windows around 0 of both signs.
[[nodiscard]] ActivationLevels FindLevels(const SiteProblem& problem, const ActivationRange& range,
                                          const SiteResult& site);

}  // namespace ptq
