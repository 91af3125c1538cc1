// Cuts the samples' blocks into one even part for each rank.
#include "ptq/calibrate/rank_parts.h"

#include <numeric>

namespace ptq {

std::vector<size_t> EvenParts(std::span<const int64_t> costs, int ranks) {
  const auto total = std::accumulate(costs.begin(), costs.end(), int64_t{0});
  std::vector<size_t> bounds(size_t(ranks) + 1, costs.size());
  bounds.front() = 0;
  size_t piece = 0;
  int64_t before = 0;
  for (int rank = 1; rank < ranks; ++rank) {
    // A piece belongs to the part in which its middle lies.
    while (piece < costs.size() && (2 * before + costs[piece]) * ranks <= 2 * total * rank) {
      before += costs[piece++];
    }
    bounds[size_t(rank)] = piece;
  }
  return bounds;
}

}  // namespace ptq
