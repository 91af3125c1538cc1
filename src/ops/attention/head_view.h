// Where the vectors of heads lie in memory, and how far that memory reaches.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>

#include "ptq/base/error.h"

namespace ptq {

/// `count` things, `stride` elements apart.
struct Extent {
  int64_t count;
  int64_t stride;
};

/// Whether memory of `size` elements holds one at every combination of `extents`.
[[nodiscard]] inline bool Reaches(size_t size, std::initializer_list<Extent> extents) {
  auto left = static_cast<int64_t>(size);
  for (const auto& [count, stride] : extents) {
    if (count <= 0) return true;
  }
  for (const auto& [count, stride] : extents) {
    if (stride < 0 || (stride > 0 && count - 1 > left / stride)) return false;
    left -= (count - 1) * stride;
  }
  return left > 0;
}

/// Vectors of heads in memory: element d of token t of head h of batch b is at
/// data[b·batch + h·head + t·token + d].
template <class T>
struct HeadView {
  std::span<T> data;
  int64_t batch = 0;
  int64_t head = 0;
  int64_t token = 0;

  /// The first element of a vector.
  [[nodiscard]] T* At(int64_t b, int64_t h, int64_t t) const {
    return data.data() + b * batch + h * head + t * token;
  }

  /// Whether all vectors of `size` elements of so many tokens, heads and batches are in `data`.
  [[nodiscard]] bool Holds(int64_t batches, int64_t heads, int64_t tokens, int64_t size) const {
    return Reaches(data.size(), {{batches, batch}, {heads, head}, {tokens, token}, {size, 1}});
  }

  /// Throws InputError unless it holds them. Whoever reads or writes through a view asks first.
  void Require(int64_t batches, int64_t heads, int64_t tokens, int64_t size) const {
    if (Holds(batches, heads, tokens, size)) return;
    throw InputError(
        "attention: the shapes of queries, keys, values and caches do not belong "
        "together");
  }
};

}  // namespace ptq
