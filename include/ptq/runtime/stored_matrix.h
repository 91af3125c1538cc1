// The stored tensor behind a constant matrix, for whoever reads it by rows.
#pragma once

#include <optional>

#include "ptq/model/graph.h"

namespace ptq {

/// A matrix as it is stored.
struct StoredMatrix {
  ValueId stored = kNoValue;
  bool transposed = false;  ///< against the constant that was asked for
};

/// What lies behind a constant matrix when at most Transposes stand in front of it. Nothing when
/// anything else does, or when one of them is malformed: to fold the constant tells why.
[[nodiscard]] std::optional<StoredMatrix> FindStoredMatrix(const Graph& graph, ValueId constant);

}  // namespace ptq
