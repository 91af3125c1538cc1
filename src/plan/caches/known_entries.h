// What is known of a shape that a graph computes.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ptq/model/graph.h"

namespace ptq {

/// The elements of a vector of integers, those that are constants; nothing when not even their
/// number is known. Follows what exporters make of shapes: constants, a Concat of single elements,
/// Cast, Reshape, Identity, and Where(equals -1, 1, shape).
[[nodiscard]] std::optional<std::vector<std::optional<int64_t>>> KnownEntries(const Graph& graph,
                                                                              ValueId id);

}  // namespace ptq
