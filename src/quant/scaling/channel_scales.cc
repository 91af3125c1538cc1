// Summarizes weights by channel, and brings candidates into the range that a producer allows.
#include "channel_scales.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>

#include "ptq/base/half.h"
#include "ptq/base/parallel.h"

namespace ptq {
namespace {

/// Rows that one task sums, and those of them that it reads at once.
constexpr int64_t kScaleRowTile = 1024;
constexpr int64_t kRowsRead = 32;
/// No scaled weight may exceed 1e37, so that its grid stays in the range of float.
constexpr double kLogLargestWeight = 37 * std::numbers::ln10;

/// Adds |w| / (largest magnitude in its group) of one row to `sums`, and |w| to the maxima.
void AddRow(const float* row, int64_t k, int64_t group, WeightSummary& sums) {
  for (int64_t begin = 0; begin < k; begin += group) {
    const int64_t end = std::min(k, begin + group);
    float largest = 0;
    for (int64_t j = begin; j < end; ++j) largest = std::max(largest, std::abs(row[j]));
    if (largest == 0) continue;
    for (int64_t j = begin; j < end; ++j) {
      sums.relative[size_t(j)] += double(std::abs(row[j]) / largest);
      sums.largest[size_t(j)] = std::max(sums.largest[size_t(j)], std::abs(row[j]));
    }
  }
}

WeightSummary Zeros(int64_t k) {
  return {std::vector<double>(size_t(k), 0.0), std::vector<float>(size_t(k), 0.0f)};
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

}  // namespace

WeightSummary Summarize(const SiteProblem& problem) {
  WeightSummary summary = Zeros(problem.k);
  for (const LinearProblem& linear : problem.linears) {
    const int64_t group = linear.spec.GroupSizeFor(problem.k);
    std::vector<WeightSummary> partial(
        size_t((linear.w.rows() + kScaleRowTile - 1) / kScaleRowTile));
    ParallelForTiles(linear.w.rows(), kScaleRowTile, [&](int64_t begin, int64_t end) {
      WeightSummary& own = partial[size_t(begin / kScaleRowTile)];
      own = Zeros(problem.k);
      std::vector<float> buffer;
      for (int64_t first = begin; first < end; first += kRowsRead) {
        const int64_t rows = std::min(kRowsRead, end - first);
        const float* w = linear.w.Get(first, first + rows, buffer);
        for (int64_t r = 0; r < rows; ++r) AddRow(w + r * problem.k, problem.k, group, own);
      }
    });
    for (const WeightSummary& own : partial) {
      for (size_t j = 0; j < own.largest.size(); ++j) {
        summary.relative[j] += own.relative[j];
        summary.largest[j] = std::max(summary.largest[j], own.largest[j]);
      }
    }
  }
  return summary;
}

std::vector<double> LogOfChannels(std::span<const double> values,
                                  std::span<const int64_t> row_of_channel) {
  std::vector<double> logs(values.begin(), values.end());
  ShareAmongTied(row_of_channel, logs);
  double smallest = std::numeric_limits<double>::infinity();
  for (const double value : logs) {
    if (!std::isfinite(value)) return {};
    if (value > 0) smallest = std::min(smallest, value);
  }
  if (!std::isfinite(smallest)) return {};
  for (double& value : logs) value = std::log(std::max(value, smallest));
  return logs;
}

std::vector<double> LogOfChannels(std::span<const float> values,
                                  std::span<const int64_t> row_of_channel) {
  return LogOfChannels(std::vector<double>(values.begin(), values.end()), row_of_channel);
}

ScaleCandidates::ScaleCandidates(const SiteProblem& problem, const WeightSummary& weights)
    : problem_(problem),
      log_largest_weight_(std::log(double(std::ranges::max(weights.largest)))),
      half_(std::ranges::any_of(problem.linears, [](const LinearProblem& linear) {
        return linear.spec.scale_type == ScaleType::kFloat16;
      })) {}

void ScaleCandidates::Add(std::string_view name, double alpha, const std::vector<double>& log_s) {
  std::vector<float> s = Normalised(log_s);
  if (!s.empty()) candidates_.push_back({std::string(name), alpha, std::move(s)});
}

std::vector<float> ScaleCandidates::Normalised(const std::vector<double>& log_s) const {
  const auto [low, high] = std::ranges::minmax(log_s);
  const double centre = 0.5 * (low + high);
  const double floor = std::log(double(problem_.scale_min));
  const double ceiling =
      std::min(std::log(double(problem_.scale_max)), kLogLargestWeight - log_largest_weight_);
  if (!(floor < ceiling)) return {};
  // A common factor costs nothing (codes and loss stay), a clamped channel does.
  double shift = -centre;
  if (low + shift < floor) shift = std::min(floor - low, std::max(shift, ceiling - high));
  std::vector<float> s(log_s.size());
  for (size_t j = 0; j < s.size(); ++j) {
    s[j] = float(std::exp(std::clamp(log_s[j] + shift, floor, ceiling)));
    if (half_) s[j] = RoundToHalf(s[j]);
    if (!std::isfinite(s[j]) || !(s[j] > 0)) return {};
  }
  return s;
}

}  // namespace ptq
