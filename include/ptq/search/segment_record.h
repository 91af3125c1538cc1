// What is known of quantized segments as JSON: for checkpoints, other ranks and other models.
#pragma once

#include <nlohmann/json.hpp>

#include "ptq/plan/outcome.h"
#include "ptq/search/segment_result.h"

namespace ptq {

// How a record's parts become JSON and back, found by their types.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Use, node, input)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Fold, kind, gains, linear, bias, row_of_channel)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Site, value, linears, segment, scaling_allowed, scaling_note,
                                   fold)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ScaledSite, site, scale)

}  // namespace ptq
