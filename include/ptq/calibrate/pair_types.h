// token_type_ids of samples that are pairs of texts.
#pragma once

#include "ptq/model/graph.h"
#include "ptq/runtime/feeds.h"
#include "ptq/text/calibration.h"

namespace ptq {

/// What `source` gives, and the input of token types, where `graph` has one and `samples` holds
/// pairs. A row of ids gets the types of the sample that begins like it, as far as it does, and
/// zeros behind that: so also parts of samples, and padded ones, have theirs.
[[nodiscard]] InputSource WithPairTypes(InputSource source, const Graph& graph,
                                        const CalibrationSet& samples);

}  // namespace ptq
