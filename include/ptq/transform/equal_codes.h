// Linears whose codes are the same, and stored once.
#pragma once

#include <vector>

#include "ptq/plan/plan.h"

namespace ptq {

/// For each linear the first one (or itself) that has the same codes in a form that stores equal
/// ones once: they have one weight. `by_bytes`: or weights of equal bytes, which get the same codes
/// where nothing but the weight decides them; no weight is read as a whole but beside an equal one.
[[nodiscard]] std::vector<int> FirstWithEqualCodes(const Graph& graph, const Plan& plan,
                                                   bool by_bytes);

}  // namespace ptq
