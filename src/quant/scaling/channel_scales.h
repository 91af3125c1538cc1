// What scalings share: a site's channels in numbers, and the scales that come of them.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "pieces.h"

namespace ptq {

/// What the weights of a site's linears say of its channels.
struct WeightSummary {
  /// w̄_j up to a constant factor (which normalising s removes): the sum over all rows of all
  /// siblings of |w_j| / (largest magnitude in the group of j).
  std::vector<double> relative;
  std::vector<float> largest;  ///< max |w_j| over all rows of all siblings
};

/// Reads all weights once, on all threads.
[[nodiscard]] WeightSummary Summarize(const SiteProblem& problem);

/// Logarithms of one number for each channel. Channels that must get one scale get their mean
/// first; what is not positive counts as the smallest positive value, since a channel that was
/// never active (or whose weights are all zero) must not dominate the range of s. Empty when a
/// number is not finite or none positive.
[[nodiscard]] std::vector<double> LogOfChannels(std::span<const double> values,
                                                std::span<const int64_t> row_of_channel);
[[nodiscard]] std::vector<double> LogOfChannels(std::span<const float> values,
                                                std::span<const int64_t> row_of_channel);

/// Collects candidates that the site can use.
class ScaleCandidates {
 public:
  /// The problem outlives this.
  ScaleCandidates(const SiteProblem& problem, const WeightSummary& weights);

  /// s = exp(log_s), normalised by sqrt(max·min), moved and then clamped into the site's bounds,
  /// and rounded to what the graph stores. Nothing where the bounds leave no room.
  void Add(std::string_view name, double alpha, const std::vector<double>& log_s);

  [[nodiscard]] std::vector<ScalingCandidate> Take() { return std::move(candidates_); }

 private:
  [[nodiscard]] std::vector<float> Normalised(const std::vector<double>& log_s) const;
  const SiteProblem& problem_;
  double log_largest_weight_;
  bool half_;
  std::vector<ScalingCandidate> candidates_;
};

}  // namespace ptq
