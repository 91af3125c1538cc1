// Finds what a model keeps of past tokens.
#pragma once

#include "ptq/model/graph.h"
#include "ptq/plan/plan.h"

namespace ptq {

/// The caches of every com.microsoft GroupQueryAttention of the graph; of a graph without one those
/// that it concatenates itself (concat_caches.h). Throws UnsupportedError when
/// there are none, or one cannot become codes, and says why.
[[nodiscard]] QuantizedCaches FindCaches(const Graph& graph, const CacheCodes& codes);

}  // namespace ptq
