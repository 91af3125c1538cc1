// How the states of a text's tokens become one vector.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace ptq {

/// In the order in which sentence-transformers puts them one behind the other, when a model has
/// several.
enum class Pooling {
  kCls,             ///< the first token's state
  kMax,             ///< the largest of each channel
  kMean,            ///< the mean of all
  kMeanSqrtLength,  ///< the sum, divided by the root of the number of tokens
  kWeightedMean,    ///< the mean with weights 1, 2 … T
  kLastToken,       ///< the last token's state
};

/// Pools `states` [T, width] of a text without padding, T at least 1; sums in double.
[[nodiscard]] std::vector<double> Pool(Pooling pooling, std::span<const float> states,
                                       int64_t width);

/// "cls", "max", "mean", "mean-sqrt-len", "weighted-mean", "last".
[[nodiscard]] std::string_view PoolingName(Pooling pooling);

}  // namespace ptq
