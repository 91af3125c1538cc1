// The ways to pool, as sentence-transformers defines them.
#include "ptq/evaluate/pooling.h"

#include <algorithm>
#include <cmath>

namespace ptq {
namespace {

/// Σ weight(t) · states[t], t = 0 … T − 1.
template <class Weight>
std::vector<double> WeightedSum(std::span<const float> states, int64_t width, Weight weight) {
  std::vector<double> sum(size_t(width), 0);
  for (size_t t = 0; t * sum.size() < states.size(); ++t) {
    const double factor = weight(double(t));
    for (size_t j = 0; j < sum.size(); ++j) sum[j] += factor * double{states[t * sum.size() + j]};
  }
  return sum;
}

std::vector<double> Largest(std::span<const float> states, int64_t width) {
  std::vector<double> largest(states.begin(), states.begin() + width);
  for (size_t i = largest.size(); i < states.size(); ++i) {
    double& channel = largest[i % largest.size()];
    // A NaN stays, wherever it stands.
    if (!(channel >= double{states[i]})) channel = std::isnan(channel) ? channel : states[i];
  }
  return largest;
}

}  // namespace

std::vector<double> Pool(Pooling pooling, std::span<const float> states, int64_t width) {
  const auto size = static_cast<size_t>(width);
  const double tokens = double(states.size()) / double(size);
  const auto mean = [&](double of) {
    return WeightedSum(states, width, [of](double) { return 1 / of; });
  };
  switch (pooling) {
    case Pooling::kCls: return {states.begin(), states.begin() + width};
    case Pooling::kMax: return Largest(states, width);
    case Pooling::kMean: return mean(tokens);
    case Pooling::kMeanSqrtLength: return mean(std::sqrt(tokens));
    case Pooling::kWeightedMean: {
      const double total = tokens * (tokens + 1) / 2;
      return WeightedSum(states, width, [total](double t) { return (t + 1) / total; });
    }
    case Pooling::kLastToken: return {states.end() - width, states.end()};
  }
  return {};
}

std::string_view PoolingName(Pooling pooling) {
  switch (pooling) {
    case Pooling::kCls: return "cls";
    case Pooling::kMax: return "max";
    case Pooling::kMean: return "mean";
    case Pooling::kMeanSqrtLength: return "mean-sqrt-len";
    case Pooling::kWeightedMean: return "weighted-mean";
    case Pooling::kLastToken: return "last";
  }
  return "mean";
}

}  // namespace ptq
