// Spearman's rank correlation.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace ptq {

/// The place of each value when all are sorted, 0 … N − 1. Equal values take places in the order
/// given (ordinal ranks), not their mean place.
[[nodiscard]] std::vector<int64_t> OrdinalRanks(std::span<const double> values);

/// Pearson's correlation of the ordinal ranks, 1 − 6 Σ d² / (N (N² − 1)), −1 … 1. Nothing for fewer
/// than two values, or where all of one side are equal: their order would mean nothing. The values
/// must not be NaN. Throws InternalError when the sides differ in length.
[[nodiscard]] std::optional<double> Spearman(std::span<const double> a, std::span<const double> b);

}  // namespace ptq
