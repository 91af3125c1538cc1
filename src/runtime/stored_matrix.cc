#include "ptq/runtime/stored_matrix.h"

#include <vector>

namespace ptq {

std::optional<StoredMatrix> FindStoredMatrix(const Graph& graph, ValueId constant) {
  StoredMatrix matrix{constant, false};
  while (graph.value(matrix.stored).constant == nullptr) {
    const int producer = graph.value(matrix.stored).producer;
    if (producer < 0) return std::nullopt;
    const Node& node = graph.nodes()[size_t(producer)];
    const auto& inputs = graph.inputs(producer);
    if (!node.domain().empty() || node.op_type() != "Transpose" || inputs.size() != 1 ||
        inputs[0] == kNoValue) {
      return std::nullopt;
    }
    const std::vector<int64_t> order = node.Ints("perm");  // none: the dimensions are reversed
    if (order.empty() || order == std::vector<int64_t>{1, 0}) {
      matrix.transposed = !matrix.transposed;
    } else if (order != std::vector<int64_t>{0, 1}) {
      return std::nullopt;
    }
    matrix.stored = inputs[0];
  }
  if (graph.value(matrix.stored).constant->dims_size() != 2) return std::nullopt;
  return matrix;
}

}  // namespace ptq
