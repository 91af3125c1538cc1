// The points of a sweep: as a table, as JSON, as CSV.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "ptq/flows/sweep.h"

namespace ptq {

/// By size; a star marks those that no other beats, an arrow the one that was picked.
[[nodiscard]] std::string SweepText(const SweepReport& report);
[[nodiscard]] nlohmann::ordered_json SweepJson(const SweepReport& report);
/// A header, and a record for each point in the grid's order (RFC 4180).
[[nodiscard]] std::string SweepCsv(const SweepReport& report);

}  // namespace ptq
