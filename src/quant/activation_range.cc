// Tries ranges on a sample of activations, and compares the best with that of the extremes.
#include "activation_range.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "activation_noise.h"

#include "ptq/base/parallel.h"
#include "ptq/base/simd.h"

namespace ptq {
namespace {

/// Factors of the ends of a range: coarse ones down to 1/16 in eighths of an octave, and fine ones
/// around the best of these.
constexpr int kCoarseSteps = 33;
constexpr double kCoarse = 8;
constexpr int kFineSteps = 13;
constexpr double kFine = 32;
/// Bins of the histogram whose distribution is compared.
constexpr int kBins = 2048;
/// Rows of a weight that are multiplied together.
constexpr int64_t kRowTile = 256;

struct Range {
  float lowest = 0;
  float highest = 0;
};

/// Σ weight_j (Q(x_j) − x_j)²
PTQ_VECTOR_CLONES double RowLoss(const float* x, const float* weights, int64_t k,
                                 const ActivationLevels& levels) {
  constexpr int64_t kLanes = 16;
  const float scale = levels.scale, zero = float(levels.zero_point), top = levels.top();
  const auto loss = [&](int64_t j) {
    float code = std::nearbyint(x[j] / scale) + zero;
    code = code < 0.0f ? 0.0f : code;
    code = top < code ? top : code;
    const float error = (code - zero) * scale - x[j];
    return weights[j] * error * error;
  };
  float lanes[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= k; j += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += loss(j + lane);
  }
  double sum = 0;
  for (const float lane : lanes) sum += double(lane);
  for (; j < k; ++j) sum += double(loss(j));
  return sum;
}

/// A site's activations x / s, and the ranges that rules find for them.
class RangeSearch {
 public:
  RangeSearch(const SiteProblem& problem, const SiteResult& site);

  [[nodiscard]] ActivationLevels LevelsFor(const Range& range) const {
    return LevelsBetween(range.lowest, range.highest, bits_);
  }
  /// Of all that was seen, padding included.
  [[nodiscard]] const Range& extremes() const { return extremes_; }
  [[nodiscard]] Range Percentile(double percent) const;
  [[nodiscard]] Range LeastError() const;
  [[nodiscard]] Range LeastEntropy() const;
  /// Σ ‖Ŵ·(Q(x/s) − x/s)‖² for all tokens.
  [[nodiscard]] double LossOf(const ActivationLevels& levels) const;

 private:
  [[nodiscard]] std::vector<float> ChannelWeights() const;
  [[nodiscard]] double LossOfExtremes(const ActivationLevels& levels) const;
  [[nodiscard]] double Divergence(const std::vector<double>& counts, int begin, int end) const;

  const SiteResult& site_;
  const int64_t k_;
  const int bits_;
  Range extremes_;
  std::vector<float> lowest_, highest_;  ///< of each channel's x / s, [K]
  std::vector<float> x_;                 ///< x / s of the sample, [rows, K]
  double tokens_for_each_ = 1;           ///< that one of the sample stands for
  std::vector<float> weights_;           ///< ‖ŵ_j‖² over all linears, [K]
};

RangeSearch::RangeSearch(const SiteProblem& problem, const SiteResult& site)
    : site_(site),
      k_(problem.k),
      bits_(int(std::bit_width(unsigned(problem.activations.levels))) - 1),
      x_(problem.activations.sample.begin(), problem.activations.sample.end()) {
  const auto k = size_t(k_);
  const auto divided = [&](float value, size_t j) {
    return site_.scale.empty() ? value : value / site_.scale[j];
  };
  for (size_t j = 0; j < k; ++j) {
    lowest_.push_back(divided(problem.activations.lowest[j], j));
    highest_.push_back(divided(problem.activations.highest[j], j));
    extremes_.lowest = std::min(extremes_.lowest, lowest_.back());
    extremes_.highest = std::max(extremes_.highest, highest_.back());
  }
  if (x_.empty()) return;
  for (size_t row = 0; row < x_.size(); row += k) {
    for (size_t j = 0; j < k; ++j) x_[row + j] = divided(x_[row + j], j);
  }
  tokens_for_each_ = std::max(1.0, double(problem.tokens) * double(k) / double(x_.size()));
  weights_ = ChannelWeights();
}

/// ‖ŵ_j‖² over all linears, [K].
std::vector<float> RangeSearch::ChannelWeights() const {
  std::vector<double> sums(size_t(k_), 0.0);
  std::vector<float> w;
  for (const LinearResult& linear : site_.linears) {
    for (int64_t begin = 0; begin < linear.q.n; begin += kRowTile) {
      const int64_t end = std::min(begin + kRowTile, linear.q.n);
      w.resize(size_t((end - begin) * k_));
      linear.q.DequantizeRows(begin, end, w.data());
      for (size_t i = 0; i < w.size(); i += size_t(k_)) {
        for (size_t j = 0; j < size_t(k_); ++j) sums[j] += double(w[i + j]) * double(w[i + j]);
      }
    }
  }
  return {sums.begin(), sums.end()};
}

/// The least and the largest of each channel are seldom in the sample, and are lost with what is
/// cut off: of one token each.
double RangeSearch::LossOfExtremes(const ActivationLevels& levels) const {
  return RowLoss(lowest_.data(), weights_.data(), k_, levels) +
         RowLoss(highest_.data(), weights_.data(), k_, levels);
}

Range RangeSearch::LeastError() const {
  Range best = extremes_;
  const auto try_factors = [&](int count, double first, double step, bool low, bool high) {
    std::vector<Range> ranges(size_t(count) + 1, best);
    for (size_t i = 1; i < ranges.size(); ++i) {
      const auto factor = float(std::exp2((first - double(i - 1)) / step));
      if (low) ranges[i].lowest = std::max(best.lowest * factor, extremes_.lowest);
      if (high) ranges[i].highest = std::min(best.highest * factor, extremes_.highest);
    }
    std::vector<double> losses(ranges.size(), 0.0);
    ParallelFor(int64_t(ranges.size()), [&](int64_t i) {
      const ActivationLevels levels = LevelsFor(ranges[size_t(i)]);
      for (size_t row = 0; row < x_.size(); row += size_t(k_)) {
        losses[size_t(i)] += RowLoss(x_.data() + row, weights_.data(), k_, levels);
      }
      losses[size_t(i)] = tokens_for_each_ * losses[size_t(i)] + LossOfExtremes(levels);
    });
    best = ranges[size_t(std::ranges::min_element(losses) - losses.begin())];
  };
  try_factors(kCoarseSteps, 0, kCoarse, true, true);
  try_factors(kCoarseSteps, kCoarse, kCoarse, true, false);
  try_factors(kCoarseSteps, kCoarse, kCoarse, false, true);
  constexpr int kMiddle = kFineSteps / 2;
  try_factors(kFineSteps, kMiddle, kFine, true, false);
  try_factors(kFineSteps, kMiddle, kFine, false, true);
  return best;
}

Range RangeSearch::Percentile(double percent) const {
  std::vector<float> sorted = x_;
  const auto outside = std::ptrdiff_t(double(sorted.size()) * (100 - percent) / 200);
  const auto low = sorted.begin() + outside;
  const auto high = sorted.end() - 1 - outside;
  std::ranges::nth_element(sorted, low);
  const float lowest = *low;
  std::ranges::nth_element(sorted, high);
  return {std::min(lowest, 0.0f), std::max(*high, 0.0f)};
}

/// KL divergence of the bins [begin, end), which the others are clipped into, from what is left of
/// them when each level's are averaged.
double RangeSearch::Divergence(const std::vector<double>& counts, int begin, int end) const {
  constexpr double kNever = 1e-9;  // what levels leave empty, in tokens
  std::vector<double> clipped(counts.begin() + begin, counts.begin() + end);
  for (int i = 0; i < begin; ++i) clipped.front() += counts[size_t(i)];
  for (int i = end; i < kBins; ++i) clipped.back() += counts[size_t(i)];
  const int64_t bins = end - begin, levels = std::min<int64_t>(bins, int64_t{1} << bits_);
  double total = 0, divergence = 0, total_left = 0;
  std::vector<double> left(size_t(bins), 0.0);
  for (int64_t level = 0; level < levels; ++level) {
    const int64_t first = level * bins / levels, last = (level + 1) * bins / levels;
    double sum = 0, used = 0;
    for (int64_t i = first; i < last; ++i) {
      const double count = counts[size_t(begin + i)];
      sum += count;
      used += count > 0 ? 1 : 0;
    }
    for (int64_t i = first; i < last; ++i) {
      if (counts[size_t(begin + i)] > 0) left[size_t(i)] = sum / used;
    }
    total_left += sum;
  }
  for (const double count : clipped) total += count;
  if (!(total_left > 0)) return std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < clipped.size(); ++i) {
    if (!(clipped[i] > 0)) continue;
    const double p = clipped[i] / total, q = std::max(left[i], kNever) / total_left;
    divergence += p * std::log(p / q);
  }
  return divergence;
}

Range RangeSearch::LeastEntropy() const {
  const float width = (extremes_.highest - extremes_.lowest) / float(kBins);
  if (!(width > 0)) return extremes_;
  std::vector<double> counts(kBins, 0.0);
  for (const float x : x_) {
    const auto bin = int((x - extremes_.lowest) / width);
    counts[size_t(std::clamp(bin, 0, kBins - 1))] += 1;
  }
  const auto below = double(-extremes_.lowest / width);  // bins of negative values
  std::vector<std::pair<int, int>> windows;
  for (int i = 0; i < 2 * kCoarseSteps; ++i) {
    const double factor = std::exp2(-i / (2 * kCoarse));
    const int begin = int(std::lround(below * (1 - factor)));
    const int end = int(std::lround(below + (kBins - below) * factor));
    if (end - begin >= std::min(1 << bits_, kBins)) windows.emplace_back(begin, end);
  }
  std::vector<double> divergences(windows.size());
  ParallelFor(int64_t(windows.size()), [&](int64_t i) {
    const auto& [begin, end] = windows[size_t(i)];
    divergences[size_t(i)] = Divergence(counts, begin, end);
  });
  const auto best = std::ranges::min_element(divergences) - divergences.begin();
  const auto& [begin, end] = windows[size_t(best)];
  return {std::min(extremes_.lowest + width * float(begin), 0.0f),
          std::max(extremes_.lowest + width * float(end), 0.0f)};
}

double RangeSearch::LossOf(const ActivationLevels& levels) const {
  std::vector<float> errors(x_.size());
  RoundToLevels(x_, levels, errors.data());
  for (size_t i = 0; i < x_.size(); ++i) errors[i] -= x_[i];
  double loss = 0;
  for (const LinearResult& linear : site_.linears) loss += ProductLoss(linear.q, errors);
  return tokens_for_each_ * loss + LossOfExtremes(levels);
}

}  // namespace

ActivationLevels FindLevels(const SiteProblem& problem, const ActivationRange& range,
                            const SiteResult& site) {
  const RangeSearch search(problem, site);
  const ActivationLevels widest = search.LevelsFor(search.extremes());
  if (problem.activations.sample.empty()) return widest;
  Range found = search.extremes();
  switch (range.rule) {
    case ActivationRange::Rule::kMinmax: return widest;
    case ActivationRange::Rule::kPercentile: found = search.Percentile(range.percentile); break;
    case ActivationRange::Rule::kMse: found = search.LeastError(); break;
    case ActivationRange::Rule::kEntropy: found = search.LeastEntropy(); break;
  }
  const ActivationLevels levels = search.LevelsFor(found);
  return search.LossOf(levels) < search.LossOf(widest) ? levels : widest;
}

}  // namespace ptq
