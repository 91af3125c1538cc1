#include "ptq/stats/site_statistics.h"

#include <algorithm>
#include <cmath>

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"
#include "ptq/tensor/gemm.h"

namespace ptq {
namespace {

/// Channels that one task sums, over all tokens and in their order.
constexpr int64_t kChannelTile = 256;

}  // namespace

SiteStatistics::SiteStatistics(int64_t k, bool with_gram)
    : k_(k), abs_sum_(size_t(k), 0.0), max_abs_(size_t(k), 0.0f) {
  if (with_gram) gram_.assign(size_t(k * k), 0.0f);
}

void SiteStatistics::Add(std::span<const float> x, int64_t rows) {
  if (static_cast<int64_t>(x.size()) != rows * k_) {
    throw InternalError("statistics: the activation does not have K columns");
  }
  count_ += rows;
  ParallelForTiles(k_, kChannelTile, [&](int64_t begin, int64_t end) {
    for (int64_t row = 0; row < rows; ++row) {
      const float* values = x.data() + row * k_;
      for (int64_t j = begin; j < end; ++j) {
        const float magnitude = std::abs(values[j]);
        abs_sum_[size_t(j)] += double{magnitude};
        max_abs_[size_t(j)] = std::max(max_abs_[size_t(j)], magnitude);
      }
    }
  });
  if (!gram_.empty()) AccumulateGram(x.data(), rows, k_, gram_.data());
}

void SiteStatistics::Merge(const SiteStatistics& other) {
  if (other.k_ != k_ || other.gram_.size() != gram_.size()) {
    throw InternalError("statistics of different sites cannot be merged");
  }
  count_ += other.count_;
  for (size_t j = 0; j < abs_sum_.size(); ++j) {
    abs_sum_[j] += other.abs_sum_[j];
    max_abs_[j] = std::max(max_abs_[j], other.max_abs_[j]);
  }
  for (size_t i = 0; i < gram_.size(); ++i) gram_[i] += other.gram_[i];
}

std::vector<float> SiteStatistics::MeanAbs() const {
  std::vector<float> mean(abs_sum_.size(), 0.0f);
  if (count_ == 0) return mean;
  for (size_t j = 0; j < mean.size(); ++j) {
    mean[j] = static_cast<float>(abs_sum_[j] / static_cast<double>(count_));
  }
  return mean;
}

bool SiteStatistics::IsFinite() const {
  const auto finite = [](auto value) { return std::isfinite(value); };
  // The diagonal bounds the rest: |H_ij|² ≤ H_ii · H_jj.
  for (int64_t j = 0; !gram_.empty() && j < k_; ++j) {
    if (!std::isfinite(gram_[size_t(j * k_ + j)])) return false;
  }
  return std::ranges::all_of(abs_sum_, finite);
}

}  // namespace ptq
