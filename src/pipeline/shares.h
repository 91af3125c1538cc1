// Who of several ranks does what: the same answer on all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ptq/plan/plan.h"

namespace ptq {

/// Cuts consecutive pieces of work into one part for each rank, as even as whole pieces allow: rank
/// r does [result[r], result[r + 1]). Some parts may be empty.
[[nodiscard]] std::vector<size_t> EvenParts(std::span<const int64_t> costs, int ranks);

/// The rank that quantizes each site of the plan: in each segment the dearest site goes to the rank
/// that has least to do. Sites of shared weights, which need the statistics of others, go to rank
/// 0.
[[nodiscard]] std::vector<int> SiteOwners(const Plan& plan, int ranks);

}  // namespace ptq
