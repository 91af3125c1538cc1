// The padding masks of com.microsoft Attention and MultiHeadAttention as a bias on the scores.
#pragma once

#include <cstdint>

#include "ptq/tensor/tensor.h"

namespace ptq {

/// Sizes that a padding mask is read against.
struct MaskGeometry {
  int64_t batches;
  int64_t queries;
  int64_t past;
  int64_t keys;  ///< past and new ones
};

/// [B, 1, 1 or T, S] with 0 where a key may be used and `filter` elsewhere; undefined when the mask
/// says nothing. Accepted: [B] key lengths, [2B] ends then starts, [3B + 2] lengths first, [B, S]
/// or [B, new keys], [B, 1] and [1, 1] (placeholders), [B, T, S], [B, 1, M, M] of which the rows
/// from `past` count. Throws InputError for any other shape.
[[nodiscard]] Tensor PaddingMaskBias(const Tensor& mask, const MaskGeometry& geometry,
                                     float filter);

}  // namespace ptq
