// Chooses texts that cover others, and sorts texts into clusters.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "text_states.h"

namespace ptq {

/// The cluster of each point, by k-means on directions (spherical k-means, Dhillon & Modha 2001)
/// from centres drawn by k-means++; `points` have norm 1. Clusters are numbered by their first
/// point. The same for any number of threads.
[[nodiscard]] std::vector<int> ClusterPoints(const TextPoints& points, int clusters,
                                             std::mt19937_64& generator);

/// How many of `wanted` each stratum of `sizes` gets: by `shares` (any positive numbers; empty: by
/// size), by Webster's divisors, and at least one each where there is room; what a stratum
/// has not got goes to the others.
[[nodiscard]] std::vector<int64_t> ShareOut(std::span<const int64_t> sizes,
                                            std::span<const double> shares, int64_t wanted);

/// `wanted` of `members` (indices of points), each time the one that lowers the sum of all members'
/// distances to their nearest chosen one most: greedy facility location, the k-centre for the mean
/// (Nemhauser et al. 1978: within 1 − 1/e of the best). Unlike the k-centre for the largest
/// distance (Gonzalez 1985) it takes no outliers before what stands for many.
[[nodiscard]] std::vector<size_t> ChooseCover(const TextPoints& points,
                                              std::span<const size_t> members, int64_t wanted);

}  // namespace ptq
