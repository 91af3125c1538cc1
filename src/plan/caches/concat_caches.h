// Finds caches that a graph concatenates itself.
#pragma once

#include "ptq/model/graph.h"
#include "ptq/plan/plan.h"

namespace ptq {

/// The caches of a decoder whose graph puts new rows behind past ones, Concat(past, rows) → present
/// [batch, heads, tokens, head_size], in the main graph or in one branch of an If whose other
/// branch knows no past. Empty when the graph has no inputs that are past keys or values. Throws
/// UnsupportedError naming the input or the node when one cannot become codes.
[[nodiscard]] std::vector<Cache> FindConcatCaches(const Graph& graph, const CacheCodes& codes);

/// Fills in the size of a head: from the declared shapes of past and present, else from a
/// configuration beside the model; 0 where nobody tells.
void FindHeadSize(const Graph& graph, Cache& cache);

}  // namespace ptq
