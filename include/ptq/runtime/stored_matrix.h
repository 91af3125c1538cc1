// The stored elements behind a constant matrix, for whoever reads it by rows.
#pragma once

#include <optional>

#include "ptq/model/graph.h"
#include "ptq/tensor/matrix_rows.h"

namespace ptq {

/// The rows of W[n, k], which a constant of the graph holds as [n, k], or as [k, n] when
/// `transposed`, or as a stack of such matrices one above the other ([e, n / e, k]), where they are
/// stored. Nothing when its elements have to be computed, or do not lie in rows.
[[nodiscard]] std::optional<MatrixRows> FindStoredRows(const Graph& graph, ValueId constant,
                                                       bool transposed);

}  // namespace ptq
