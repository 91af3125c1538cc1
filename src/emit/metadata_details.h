// What the metadata say besides of each linear and of each activation that linears read.
#pragma once

#include <span>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/emit/metadata.h"

namespace ptq {

/// Where a linear's loss comes from, in parts of the output's energy: `grid`, `rounding`,
/// `activation`, `propagation`; null where a part is not known. Null when nothing is.
[[nodiscard]] nlohmann::ordered_json LossByCause(const LinearMetadata& linear);

/// Of each linear, by index: how its relative loss stands among those of its kind, of its size, and
/// of all. Null where it has none.
[[nodiscard]] std::vector<nlohmann::ordered_json> Standings(
    std::span<const LinearMetadata> linears);

/// The activations that quantized linears read, in the linears' order: what was seen and tried.
[[nodiscard]] nlohmann::ordered_json SitesJson(std::span<const LinearMetadata> linears);

}  // namespace ptq
