// Changes a graph to the types that have been decided.
#pragma once

#include "typing.h"

#include "ptq/transform/transform.h"

namespace ptq {

/// Converts constants, sets the types that nodes and declarations name, and places Casts. Leaves
/// the graph that `typing` was made for behind.
void RewriteInHalf(const Typing& typing, OutputGraph& output);

}  // namespace ptq
