// Follows what a graph makes of a cache, up to the products that take it.
#pragma once

#include <string>
#include <vector>

#include "ptq/model/graph.h"
#include "ptq/plan/plan.h"

namespace ptq {

/// Axes of a tensor, a letter each: B batch, H heads, T tokens, D channels of a head, 1 an axis of
/// length 1, G one along which heads are repeated, R both of H and G. Empty: not known.
struct CacheAxes {
  std::string letters = "BHTD";
  int64_t repeats = 1;  ///< along G
};

/// What was found behind a value.
struct CacheReaders {
  std::vector<CacheProduct> products;
  bool keys = false;    ///< some product sums over the channels of a head …
  bool values = false;  ///< … or over tokens
};

/// Follows `id`, whose axes are `axes`, through all operators that a factor passes through (moves
/// of elements, products by and quotients of other values) to the MatMuls that read it as their
/// second operand, and adds these to `found`. Who only asks for its shape does not count, nor do
/// outputs. Throws UnsupportedError naming a node of any other kind.
void FollowCache(const Graph& graph, ValueId id, const CacheAxes& axes, const Cache& cache,
                 CacheReaders& found);

/// The axes behind a Transpose.
[[nodiscard]] CacheAxes Transposed(const CacheAxes& axes, const Node& transpose);

}  // namespace ptq
