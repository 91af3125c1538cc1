// Scales of cached keys and values, found on what an attention has stored.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ptq/tensor/tensor.h"

namespace ptq {

/// What the scales are for.
struct CacheScaleSpec {
  int64_t heads = 0;
  int64_t head_size = 0;
  int64_t rotated =
      0;  ///< leading channels of a head that turn in pairs with the position; 0: none
  bool interleaved = false;  ///< a pair is 2i, 2i + 1; else i, i + rotated / 2
  /// Angles by which some positions turn each pair, [rotated / 2] each; empty: any may.
  std::vector<std::vector<float>> turns = {};
  bool keys = false;
  int bits = 8;  ///< 8: codes -128..127; 4: -8..7
  bool per_channel = true;
};

/// One scale, or one for each channel of each head, [heads · head_size], for codes round(x /
/// scale). `seen`: float32 [batch, heads, tokens, head_size] each, of any batch and number of
/// tokens. Of 8 bits the largest value decides, with a margin; of a pair that turns it is the
/// pair's length, which no position changes. Of 4 bits the scale has the least sum of errors:
/// squared, and of keys to the fourth power, since a softmax takes them to an exponent; pairs are
/// turned by `turns` as well. Throws InputError for values that are no numbers, or all 0.
[[nodiscard]] std::vector<float> CacheScales(std::span<const Tensor> seen,
                                             const CacheScaleSpec& spec);

}  // namespace ptq
