// Which tokens lie where in the caches of grouped attention, and which of them a sliding one keeps.
#pragma once

#include <cstdint>

#include "ptq/tensor/tensor.h"

namespace ptq {

/// Tokens that a sliding cache of `capacity` rows holds once `total` have been seen: all of them,
/// or those that are left when whole steps of capacity - window + 1 have been dropped.
[[nodiscard]] int64_t ResidentTokens(int64_t total, int64_t capacity, int64_t window);

/// What lies where in the caches, per sequence.
struct CacheLayout {
  Shape seen;            ///< tokens of the past
  Shape used;            ///< of these, those in the cache: the latest
  Shape total;           ///< tokens with the new ones
  Shape ends;            ///< rows that attention sees: of the cache, and the new ones
  int64_t staged = 0;    ///< the most of these, or the length of a longer cache
  Shape kept;            ///< rows handed on in a sliding cache
  int64_t capacity = 0;  ///< its length
};

/// The rows of `staged` [B, H, S, D] that a sliding cache keeps, then zeros. Throws InputError when
/// the lengths do not fit the tokens.
[[nodiscard]] Tensor KeepLatest(const Tensor& staged, const CacheLayout& layout);

}  // namespace ptq
