// How far a quantized model's values are from its source's, segment by segment.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "ptq/calibrate/source.h"
#include "ptq/flows/analysis.h"
#include "ptq/plan/plan.h"

namespace ptq {

/// Runs both models on texts of token ids. Of each segment the values count that it hands on and
/// that both graphs have by the same name; segments without any are left out.
[[nodiscard]] std::vector<SegmentError> GrowthOf(const Source& source, const Plan& plan,
                                                 const std::filesystem::path& result,
                                                 std::span<const std::vector<int64_t>> texts);

}  // namespace ptq
