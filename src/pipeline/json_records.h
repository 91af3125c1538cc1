// What is known of quantized linears, as JSON for a checkpoint or another rank.
#pragma once

#include "segment_quantizer.h"
#include <nlohmann/json.hpp>

namespace ptq {

// How a record's parts become JSON and back, found by their types.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Use, node, input)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Fold, kind, gains, linear, bias, row_of_channel)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Site, value, linears, segment, scaling_allowed, scaling_note,
                                   fold)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ScaledSite, site, scale)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LinearOutcome, loss_rtn, loss, energy, scaling, alpha, fold,
                                   bias_corrected, tokens, note, bytes_before, bytes_after)

}  // namespace ptq
