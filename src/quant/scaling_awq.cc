#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "pieces.h"

#include "ptq/base/half.h"
#include "ptq/base/parallel.h"

namespace ptq {
namespace {

/// alpha = i / 20. alpha = 0 is "none", which is always tried.
constexpr int kAlphaSteps = 20;
/// Rows that one task sums, and those of them that it reads at once.
constexpr int64_t kRowTile = 1024;
constexpr int64_t kRowsRead = 32;
/// No scaled weight may exceed 1e37, so that its grid stays in the range of float.
constexpr double kLogLargestWeight = 37 * std::numbers::ln10;

/// Replaces what is not positive by the smallest positive value: a channel that was never active
/// (or whose weights are all zero) must not dominate the range of s. False when nothing is
/// positive.
bool FloorAtSmallestPositive(std::vector<double>& values) {
  double smallest = std::numeric_limits<double>::infinity();
  for (const double value : values) {
    if (value > 0) smallest = std::min(smallest, value);
  }
  if (!std::isfinite(smallest)) return false;
  for (double& value : values) value = std::max(value, smallest);
  return true;
}

/// Adds |w| / (largest magnitude in its group) of one row to `sums`.
void AddRelativeWeights(const float* row, int64_t k, int64_t group, double* sums) {
  for (int64_t begin = 0; begin < k; begin += group) {
    const int64_t end = std::min(k, begin + group);
    float largest = 0;
    for (int64_t j = begin; j < end; ++j) largest = std::max(largest, std::abs(row[j]));
    if (largest == 0) continue;
    for (int64_t j = begin; j < end; ++j) sums[j] += double(std::abs(row[j]) / largest);
  }
}

/// What the weights of a site's linears say.
struct WeightSummary {
  /// w̄_j up to a constant factor (which normalising s removes): the sum over all rows of all
  /// siblings of |w_j| / (largest magnitude in the group of j).
  std::vector<double> relative;
  float largest = 0;  ///< max |w|
};

WeightSummary Summarize(const SiteProblem& problem) {
  WeightSummary summary;
  summary.relative.assign(size_t(problem.k), 0.0);
  for (const LinearProblem& linear : problem.linears) {
    const int64_t group = linear.spec.GroupSizeFor(problem.k);
    const int64_t tiles = (linear.w.rows() + kRowTile - 1) / kRowTile;
    std::vector<std::vector<double>> partial(static_cast<size_t>(tiles));
    std::vector<float> largest(static_cast<size_t>(tiles));
    ParallelForTiles(linear.w.rows(), kRowTile, [&](int64_t begin, int64_t end) {
      std::vector<double>& sums = partial[size_t(begin / kRowTile)];
      float& most = largest[size_t(begin / kRowTile)];
      sums.assign(size_t(problem.k), 0.0);
      std::vector<float> buffer;
      for (int64_t first = begin; first < end; first += kRowsRead) {
        const int64_t rows = std::min(kRowsRead, end - first);
        const float* w = linear.w.Get(first, first + rows, buffer);
        for (int64_t r = 0; r < rows; ++r) {
          AddRelativeWeights(w + r * problem.k, problem.k, group, sums.data());
        }
        for (int64_t i = 0; i < rows * problem.k; ++i) most = std::max(most, std::abs(w[i]));
      }
    });
    for (const std::vector<double>& sums : partial) {
      for (size_t j = 0; j < sums.size(); ++j) summary.relative[j] += sums[j];
    }
    for (const float most : largest) summary.largest = std::max(summary.largest, most);
  }
  return summary;
}

/// Channels that must get one scale get their mean.
void ShareAmongTied(std::span<const int64_t> row_of_channel, std::vector<double>& values) {
  if (row_of_channel.empty()) return;
  const auto rows = size_t(std::ranges::max(row_of_channel)) + 1;
  std::vector<double> sums(rows, 0.0), counts(rows, 0.0);
  for (size_t j = 0; j < values.size(); ++j) {
    sums[size_t(row_of_channel[j])] += values[j];
    counts[size_t(row_of_channel[j])] += 1.0;
  }
  for (size_t j = 0; j < values.size(); ++j) {
    values[j] = sums[size_t(row_of_channel[j])] / counts[size_t(row_of_channel[j])];
  }
}

/// exp(log s) normalised by sqrt(max·min), moved and then clamped into the bounds, and rounded to
/// what the graph stores. Empty when the bounds leave no room.
std::vector<float> Normalised(const std::vector<double>& log_s, const SiteProblem& problem,
                              double log_largest_weight, bool half) {
  const auto [low, high] = std::ranges::minmax(log_s);
  const double centre = 0.5 * (low + high);
  const double floor = std::log(double(problem.scale_min));
  const double ceiling =
      std::min(std::log(double(problem.scale_max)), kLogLargestWeight - log_largest_weight);
  if (!(floor < ceiling)) return {};
  // A common factor costs nothing (codes and loss stay), a clamped channel does.
  double shift = -centre;
  if (low + shift < floor) shift = std::min(floor - low, std::max(shift, ceiling - high));
  std::vector<float> s(log_s.size());
  for (size_t j = 0; j < s.size(); ++j) {
    s[j] = float(std::exp(std::clamp(log_s[j] + shift, floor, ceiling)));
    if (half) s[j] = RoundToHalf(s[j]);
    if (!std::isfinite(s[j]) || !(s[j] > 0)) return {};
  }
  return s;
}

std::vector<ScalingCandidate> Candidates(const SiteProblem& problem, bool duo) {
  std::vector<double> x(problem.mean_abs.begin(), problem.mean_abs.end());
  ShareAmongTied(problem.row_of_channel, x);
  const auto finite = [](double value) { return std::isfinite(value); };
  if (x.empty() || !std::ranges::all_of(x, finite) || !FloorAtSmallestPositive(x)) return {};
  const WeightSummary weights = Summarize(problem);
  std::vector<double> w = weights.relative;
  ShareAmongTied(problem.row_of_channel, w);
  if (!FloorAtSmallestPositive(w)) return {};
  const bool half = std::ranges::any_of(problem.linears, [](const LinearProblem& linear) {
    return linear.spec.scale_type == ScaleType::kFloat16;
  });
  const double log_largest_weight = std::log(double(weights.largest));
  for (double& value : x) value = std::log(value);
  for (double& value : w) value = std::log(value);

  std::vector<ScalingCandidate> candidates;
  std::vector<double> log_s(x.size());
  const auto add = [&](const char* name, double alpha, double weight) {
    for (size_t j = 0; j < x.size(); ++j) log_s[j] = alpha * x[j] - weight * w[j];
    std::vector<float> s = Normalised(log_s, problem, log_largest_weight, half);
    if (!s.empty()) candidates.push_back({name, alpha, std::move(s)});
  };
  for (int step = 1; step <= kAlphaSteps; ++step) {
    add("awq", double(step) / kAlphaSteps, 0.0);
  }
  for (int step = 0; duo && step < kAlphaSteps; ++step) {  // alpha = 1 is the same in both forms
    const double alpha = double(step) / kAlphaSteps;
    add("awq-duo", alpha, 1.0 - alpha);
  }
  return candidates;
}

}  // namespace

/// Lin et al. 2023 (arXiv 2306.00978) eq. 5: s = x^alpha with x = mean |X|.
std::vector<ScalingCandidate> MakeAwqScaling(const SiteProblem& problem) {
  return Candidates(problem, /*duo=*/false);
}

/// And the form of the authors' code that also looks at the weights, s = x^alpha / w̄^(1 − alpha).
std::vector<ScalingCandidate> MakeAwqDuoScaling(const SiteProblem& problem) {
  return Candidates(problem, /*duo=*/true);
}

}  // namespace ptq
