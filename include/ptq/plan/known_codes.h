// Linears whose weights lie on a grid already: found for the plan, and their codes for the file.
#pragma once

#include <string>

#include "ptq/model/graph.h"
#include "ptq/plan/plan.h"
#include "ptq/quant/spec.h"

namespace ptq {

/// Gives a linear the specification of the fewest bytes, of those that `form` takes, that holds its
/// weight; of equal ones with the group size that it has. Of 4 or 8 bits, or 2 where it has these.
/// False when none does; `why` tells people.
[[nodiscard]] bool FindKnownSpec(const Graph& graph, const Form& form, Linear& linear,
                                 std::string& why);

/// The codes of a linear for which FindKnownSpec found its specification.
[[nodiscard]] QuantizedMatrix KnownCodes(const Graph& graph, const Linear& linear);

}  // namespace ptq
