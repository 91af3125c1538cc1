// The com.microsoft Attention that a projection was taken out of.
#pragma once

#include <optional>

#include "ptq/emit/linear_form.h"
#include "ptq/model/graph.h"
#include "ptq/transform/graph_editor.h"

namespace ptq {

/// That of a product; nothing when it has another origin.
[[nodiscard]] std::optional<PackedAttention> FindPackedAttention(const Graph& graph,
                                                                 const GraphEditor& editor,
                                                                 int product);

}  // namespace ptq
