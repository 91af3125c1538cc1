// Which part of the samples each of several ranks runs: the same answer on all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ptq {

/// Cuts consecutive pieces of work into one part for each rank, as even as whole pieces allow: rank
/// r does [result[r], result[r + 1]). Some parts may be empty.
[[nodiscard]] std::vector<size_t> EvenParts(std::span<const int64_t> costs, int ranks);

}  // namespace ptq
