// Takes the largest value of each channel, or looks for the scale of the least error below it.
#include "ptq/quant/cache_scales.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"

namespace ptq {
namespace {

/// Of 8 bits: other texts have larger values than the samples (KL on TinyStories-656K .0010 without
/// and .0002 with it). A scale for the whole tensor has room, the length of a pair has, too, and 4
/// bits have none to give away.
constexpr float kCacheMargin = 1.2F;
/// Of 4 bits: parts of the largest value that are tried, in steps.
constexpr float kLeastCachePart = 0.4F;
constexpr int kCacheParts = 25;
/// Where any angle may come: symmetric codes repeat the errors each quarter.
constexpr int kCacheTurns = 4;

using CacheColumns = std::vector<std::vector<float>>;  ///< of one channel, or of a pair

using CacheErrors = std::array<double, kCacheParts>;

float CachePart(int index) {
  return kLeastCachePart + (1 - kLeastCachePart) * float(index) / (kCacheParts - 1);
}

/// The other channel of a pair that turns; partner -1: none.
struct CachePair {
  int64_t partner = -1;
  bool second = false;  ///< the channel is the pair's second one
};

CachePair CachePairOf(const CacheScaleSpec& spec, int64_t channel) {
  if (channel >= spec.rotated) return {};
  const int64_t half = spec.rotated / 2;
  const bool second = spec.interleaved ? channel % 2 != 0 : channel >= half;
  const int64_t step = spec.interleaved ? 1 : half;
  return {second ? channel - step : channel + step, second};
}

std::vector<float> CacheColumnOf(std::span<const Tensor> seen, const CacheScaleSpec& spec,
                                 int64_t head, int64_t channel) {
  std::vector<float> column;
  for (const Tensor& tensor : seen) {
    const float* data = tensor.data<float>().data();
    const int64_t tokens = tensor.dim(2);
    for (int64_t batch = 0; batch < tensor.dim(0); ++batch) {
      for (int64_t t = 0; t < tokens; ++t) {
        column.push_back(
            data[((batch * spec.heads + head) * tokens + t) * spec.head_size + channel]);
      }
    }
  }
  return column;
}

CacheColumns CacheColumnsOf(std::span<const Tensor> seen, const CacheScaleSpec& spec,
                            int64_t index) {
  const int64_t head = index / spec.head_size;
  const int64_t channel = index % spec.head_size;
  CacheColumns columns = {CacheColumnOf(seen, spec, head, channel)};
  const int64_t partner = CachePairOf(spec, channel).partner;
  if (partner >= 0) columns.push_back(CacheColumnOf(seen, spec, head, partner));
  return columns;
}

/// The largest |x|, or the largest length of a pair.
float CacheReachOf(const CacheColumns& columns) {
  float reach = 0;
  for (size_t i = 0; i < columns[0].size(); ++i) {
    const float length =
        columns.size() == 1 ? std::abs(columns[0][i]) : std::hypot(columns[0][i], columns[1][i]);
    if (!std::isfinite(length)) {
      throw InputError("the samples give keys or values that are no finite numbers");
    }
    reach = std::max(reach, length);
  }
  return reach;
}

/// Errors of the codes of these values: squared, or to the fourth power.
double CacheErrorOf(std::span<const float> values, float scale, float limit, bool fourth) {
  double sum = 0;
  for (const float x : values) {
    const float code = std::clamp(std::nearbyint(x / scale), -limit, limit - 1.0F);
    const double error = double(x) - double(code * scale);
    const double squared = error * error;
    sum += fourth ? squared * squared : squared;
  }
  return sum;
}

/// The angles by which a channel's pair is turned.
std::vector<double> TurnsOf(const CacheScaleSpec& spec, int64_t channel) {
  std::vector<double> turns;
  const int64_t pair =
      spec.interleaved ? channel / 2 : channel % std::max<int64_t>(1, spec.rotated / 2);
  for (const auto& angles : spec.turns) turns.push_back(angles.at(size_t(pair)));
  for (int i = 0; spec.turns.empty() && i < kCacheTurns; ++i) {
    turns.push_back(std::numbers::pi / 2 * i / kCacheTurns);
  }
  return turns;
}

/// A channel's values at several turns of its pair.
CacheColumns TurnedCacheColumns(const CacheColumns& columns, const CacheScaleSpec& spec,
                                int64_t channel) {
  if (columns.size() == 1) return columns;
  const CachePair pair = CachePairOf(spec, channel);
  CacheColumns turned;
  for (const double angle : TurnsOf(spec, channel)) {
    const auto cosine = float(std::cos(angle));
    const auto sine = float(pair.second ? std::sin(angle) : -std::sin(angle));
    auto& column = turned.emplace_back(columns[0]);
    for (size_t i = 0; i < column.size(); ++i) {
      column[i] = columns[0][i] * cosine + columns[1][i] * sine;
    }
  }
  return turned;
}

/// Errors under each part of `reach`.
CacheErrors CacheErrorsOf(const CacheColumns& turned, float reach, float limit, bool fourth) {
  CacheErrors errors{};
  for (const std::vector<float>& column : turned) {
    for (int part = 0; part < kCacheParts; ++part) {
      errors[size_t(part)] += CacheErrorOf(column, reach * CachePart(part) / limit, limit, fourth);
    }
  }
  return errors;
}

float BestCachePart(const CacheErrors& errors) {
  return CachePart(int(std::ranges::min_element(errors) - errors.begin()));
}

}  // namespace

std::vector<float> CacheScales(std::span<const Tensor> seen, const CacheScaleSpec& spec) {
  for (const Tensor& tensor : seen) {
    if (tensor.rank() != 4 || tensor.dim(1) != spec.heads || tensor.dim(3) != spec.head_size) {
      throw InputError("a cache has shape " + ToString(tensor.shape()) +
                       ", and its heads were said "
                       "to be " +
                       std::to_string(spec.heads) + " of " + std::to_string(spec.head_size));
    }
  }
  const int64_t channels = spec.heads * spec.head_size;
  const float limit = spec.bits == 4 ? 8.0F : 128.0F;
  std::vector<float> reach(size_t(channels), 0.0F);
  ParallelFor(channels,
              [&](int64_t i) { reach[size_t(i)] = CacheReachOf(CacheColumnsOf(seen, spec, i)); });
  const float largest = std::ranges::max(reach);
  if (largest == 0) throw InputError("the samples give keys or values that are all 0");
  for (float& own : reach) {
    if (!spec.per_channel || own == 0) own = largest;
  }
  std::vector<CacheErrors> errors(spec.bits == 4 ? size_t(channels) : 0);
  ParallelFor(std::ssize(errors), [&](int64_t i) {
    const CacheColumns turned =
        TurnedCacheColumns(CacheColumnsOf(seen, spec, i), spec, i % spec.head_size);
    errors[size_t(i)] = CacheErrorsOf(turned, reach[size_t(i)], limit, spec.keys);
  });
  if (!spec.per_channel) {
    CacheErrors sum{};
    for (const CacheErrors& own : errors) {
      for (size_t part = 0; part < own.size(); ++part) sum[part] += own[part];
    }
    return {largest * (spec.bits == 4 ? BestCachePart(sum) : 1.0F) / limit};
  }
  for (int64_t i = 0; i < channels; ++i) {
    const bool turns = CachePairOf(spec, i % spec.head_size).partner >= 0;
    const float margin = turns ? 1.0F : kCacheMargin;
    reach[size_t(i)] *= (spec.bits == 4 ? BestCachePart(errors[size_t(i)]) : margin) / limit;
  }
  return reach;
}

}  // namespace ptq
