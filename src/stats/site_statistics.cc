// Adds up activations by tiles of channels, sums over ranks, and centers on the means.
#include "ptq/stats/site_statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"
#include "ptq/base/simd.h"
#include "ptq/tensor/gemm.h"

namespace ptq {
namespace {

/// Channels that one task sums, over all tokens and in their order.
constexpr int64_t kChannelTile = 64;
/// Numbers of a Gram matrix that are copied to be sent together, about.
constexpr int64_t kSentTogether = int64_t{1} << 22;

/// A matrix of tokens, [rows, stride].
struct Rows {
  const float* x;
  size_t rows;
  size_t stride;
};

/// Takes the columns [0, width) of each row into ranges.
PTQ_VECTOR_CLONES void WidenColumns(const Rows& part, size_t width, float* lowest, float* highest) {
  for (size_t row = 0; row < part.rows; ++row) {
    const float* values = part.x + row * part.stride;
    for (size_t j = 0; j < width; ++j) {
      lowest[j] = values[j] < lowest[j] ? values[j] : lowest[j];
      highest[j] = highest[j] < values[j] ? values[j] : highest[j];
    }
  }
}

/// What one task sums of a part: few enough tokens for float.
struct ColumnSums {
  std::array<float, kChannelTile> sums{}, abs_sums{};
  std::array<float, kChannelTile> lowest{}, highest{};
};

/// Adds x and |x| of the columns [0, width) of each row to sums, and takes x into ranges.
PTQ_VECTOR_CLONES void AddColumns(const Rows& part, size_t width, ColumnSums& to) {
  float* const sums = to.sums.data();
  float* const abs_sums = to.abs_sums.data();
  float* const lowest = to.lowest.data();
  float* const highest = to.highest.data();
  for (size_t row = 0; row < part.rows; ++row) {
    const float* values = part.x + row * part.stride;
    for (size_t j = 0; j < width; ++j) {
      sums[j] += values[j];
      abs_sums[j] += std::abs(values[j]);
      lowest[j] = values[j] < lowest[j] ? values[j] : lowest[j];
      highest[j] = highest[j] < values[j] ? values[j] : highest[j];
    }
  }
}

/// Energy of a difference, as a part of the original's: independent tokens are 2 apart.
constexpr double kUnrelated = 1.5;

/// original − seen; nothing when they are not the same tokens: their number is another, or their
/// difference has the energy of independent ones.
std::vector<float> DifferenceOf(std::span<const float> original, std::span<const float> seen) {
  std::vector<float> difference;
  if (original.size() != seen.size()) return difference;
  difference.resize(seen.size());
  double apart = 0, energy = 0;
  for (size_t i = 0; i < seen.size(); ++i) {
    difference[i] = original[i] - seen[i];
    apart += double(difference[i]) * double(difference[i]);
    energy += double(original[i]) * double(original[i]);
  }
  if (!(apart <= kUnrelated * energy)) difference.clear();
  return difference;
}

}  // namespace

SiteStatistics::SiteStatistics(int64_t k, Parts parts)
    : k_(k),
      sum_(size_t(k), 0.0),
      shift_sum_(size_t(k), 0.0),
      abs_sum_(size_t(k), 0.0),
      max_abs_(size_t(k), 0.0f),
      lowest_(size_t(k), 0.0f),
      highest_(size_t(k), 0.0f),
      sample_(k) {
  if (parts.gram) gram_.assign(size_t(k * k), 0.0f);
  if (parts.cross) cross_.assign(size_t(k * k), 0.0f);
}

SiteStatistics::SiteStatistics(int64_t count, std::vector<double> sum, std::vector<double> abs_sum,
                               std::vector<float> max_abs, std::vector<float> lowest,
                               std::vector<float> highest, std::vector<float> gram,
                               TokenSample sample)
    : k_(static_cast<int64_t>(abs_sum.size())),
      count_(count),
      sum_(std::move(sum)),
      shift_sum_(abs_sum.size(), 0.0),
      abs_sum_(std::move(abs_sum)),
      max_abs_(std::move(max_abs)),
      lowest_(std::move(lowest)),
      highest_(std::move(highest)),
      gram_(std::move(gram)),
      sample_(std::move(sample)) {
  if (sample_.k() != k_ || max_abs_.size() != abs_sum_.size() ||
      lowest_.size() != abs_sum_.size() || highest_.size() != abs_sum_.size() ||
      sum_.size() != abs_sum_.size() ||
      (!gram_.empty() && gram_.size() != abs_sum_.size() * abs_sum_.size())) {
    throw InternalError("statistics of different widths");
  }
}

void SiteStatistics::Add(std::span<const std::span<const float>> parts,
                         std::span<const uint64_t> seeds) {
  if (!seeds.empty()) sample_.Add(parts, seeds);
  for (const auto& part : parts) {
    if (static_cast<int64_t>(part.size()) % k_ != 0) {
      throw InternalError("statistics: the activation does not have K columns");
    }
    count_ += static_cast<int64_t>(part.size()) / k_;
  }
  ParallelForTiles(k_, kChannelTile, [&](int64_t begin, int64_t end) {
    ColumnSums tile;
    const auto width = static_cast<size_t>(end - begin);
    const auto stride = static_cast<size_t>(k_);
    for (const auto& part : parts) {
      tile.sums.fill(0.0f);
      tile.abs_sums.fill(0.0f);
      AddColumns({part.data() + begin, part.size() / stride, stride}, width, tile);
      for (size_t j = 0; j < width; ++j) {
        sum_[static_cast<size_t>(begin) + j] += tile.sums[j];
        abs_sum_[static_cast<size_t>(begin) + j] += tile.abs_sums[j];
      }
    }
    for (size_t j = 0; j < width; ++j) {
      const size_t channel = static_cast<size_t>(begin) + j;
      max_abs_[channel] = std::max({max_abs_[channel], -tile.lowest[j], tile.highest[j]});
      lowest_[channel] = std::min(lowest_[channel], tile.lowest[j]);
      highest_[channel] = std::max(highest_[channel], tile.highest[j]);
    }
  });
  if (!gram_.empty()) AccumulateGram(parts, k_, gram_.data());
}

void SiteStatistics::AddWithOriginal(std::span<const std::span<const float>> parts,
                                     std::span<const std::span<const float>> originals,
                                     std::span<const uint64_t> seeds) {
  Add(parts, seeds);
  if (parts.size() != originals.size()) return;
  std::vector<std::vector<float>> differences(parts.size());
  ParallelFor(int64_t(parts.size()), [&](int64_t i) {
    differences[size_t(i)] = DifferenceOf(originals[size_t(i)], parts[size_t(i)]);
  });
  std::vector<std::span<const float>> shifts, seen;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (differences[i].empty()) continue;
    shifts.emplace_back(differences[i]);
    seen.push_back(parts[i]);
  }
  AccumulateCross(shifts, seen, k_, cross_.data());
  for (const auto& shift : shifts) {
    for (size_t i = 0; i < shift.size(); ++i) shift_sum_[i % shift_sum_.size()] += shift[i];
  }
}

void SiteStatistics::Widen(std::span<const std::span<const float>> parts) {
  ParallelForTiles(k_, kChannelTile, [&](int64_t begin, int64_t end) {
    const auto stride = static_cast<size_t>(k_);
    for (const auto& part : parts) {
      WidenColumns({part.data() + begin, part.size() / stride, stride}, size_t(end - begin),
                   lowest_.data() + begin, highest_.data() + begin);
    }
  });
}

void SiteStatistics::Merge(const SiteStatistics& other) {
  if (other.k_ != k_ || other.gram_.size() != gram_.size() ||
      other.cross_.size() != cross_.size()) {
    throw InternalError("statistics of different sites cannot be merged");
  }
  count_ += other.count_;
  for (size_t j = 0; j < abs_sum_.size(); ++j) {
    sum_[j] += other.sum_[j];
    shift_sum_[j] += other.shift_sum_[j];
    abs_sum_[j] += other.abs_sum_[j];
    max_abs_[j] = std::max(max_abs_[j], other.max_abs_[j]);
    lowest_[j] = std::min(lowest_[j], other.lowest_[j]);
    highest_[j] = std::max(highest_[j], other.highest_[j]);
  }
  for (size_t i = 0; i < gram_.size(); ++i) gram_[i] += other.gram_[i];
  for (size_t i = 0; i < cross_.size(); ++i) cross_[i] += other.cross_[i];
  sample_.Merge(other.sample_);
}

void SiteStatistics::Gather(Ranks& ranks, int root) {
  if (ranks.size() == 1) return;
  ranks.Sum(std::span(&count_, 1), root);
  ranks.Sum(sum_, root);
  ranks.Sum(shift_sum_, root);
  ranks.Sum(abs_sum_, root);
  ranks.Max(max_abs_, root);
  ranks.Max(highest_, root);
  for (float& value : lowest_) value = -value;
  ranks.Max(lowest_, root);
  for (float& value : lowest_) value = -value;
  sample_.Gather(ranks, root);
  for (size_t begin = 0; begin < cross_.size(); begin += size_t(kSentTogether)) {
    ranks.Sum(
        std::span(cross_).subspan(begin, std::min(size_t(kSentTogether), cross_.size() - begin)),
        root);
  }
  if (gram_.empty()) return;
  std::vector<float> packed;  // rows of the lower triangle
  for (int64_t begin = 0, end = 0; begin < k_; begin = end) {
    packed.clear();
    for (end = begin; end < k_ && int64_t(packed.size()) < kSentTogether; ++end) {
      const auto row = gram_.begin() + end * k_;
      packed.insert(packed.end(), row, row + end + 1);
    }
    ranks.Sum(packed, root);
    if (ranks.rank() != root) continue;
    auto from = packed.cbegin();
    for (int64_t row = begin; row < end; ++row) {
      std::copy_n(from, row + 1, gram_.begin() + row * k_);
      from += row + 1;
    }
  }
}

std::vector<float> SiteStatistics::MeanAbs() const {
  std::vector<float> mean(abs_sum_.size(), 0.0f);
  if (count_ == 0) return mean;
  for (size_t j = 0; j < mean.size(); ++j) {
    mean[j] = static_cast<float>(abs_sum_[j] / static_cast<double>(count_));
  }
  return mean;
}

void SiteStatistics::Center() {
  if (centered_ || count_ == 0) return;
  centered_ = true;
  ParallelForTiles(k_, kChannelTile, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double mean = sum_[size_t(i)] / double(count_);
      const double shift = shift_sum_[size_t(i)] / double(count_);
      for (int64_t j = 0; !gram_.empty() && j <= i; ++j) {
        float& own = gram_[size_t(i * k_ + j)];
        own = float(double(own) - mean * sum_[size_t(j)]);
      }
      for (int64_t j = 0; !cross_.empty() && j < k_; ++j) {
        float& own = cross_[size_t(i * k_ + j)];
        own = float(double(own) - shift * sum_[size_t(j)]);
      }
      // What is left of a constant channel may be a rounding error below zero.
      if (!gram_.empty()) gram_[size_t(i * k_ + i)] = std::max(gram_[size_t(i * k_ + i)], 0.0f);
    }
  });
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
