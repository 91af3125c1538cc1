// The road of one run on the rank that writes the result.
#pragma once

#include "run_context.h"

#include "ptq/base/ranks.h"
#include "ptq/pipeline/run.h"

namespace ptq {

/// Calibrates, quantizes, writes and verifies one model; the result gets its name at the end. What
/// stops it leaves the last checkpoint, and the error says so.
void TravelRoad(const Recipe& recipe, Source& source, Ranks& ranks, RunReport& report,
                const RunOptions& options, const RunContext& context);

/// Whether what an interrupted run has left beside the destination is of use.
[[nodiscard]] bool TakesOver(const std::filesystem::path& destination, const RunOptions& options);
/// How many segments, from the front, have sites.
[[nodiscard]] size_t SegmentsToSearch(const Plan& plan);

}  // namespace ptq
