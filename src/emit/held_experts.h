// Codes of experts that wait for the others of their node.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/model/graph.h"
#include "ptq/plan/plan.h"
#include "ptq/quant/spec.h"
#include "ptq/transform/tensor_sink.h"

namespace ptq {

/// Products of one node come within one segment, so nothing waits when a checkpoint is made.
class HeldExperts {
 public:
  /// A node of the graph, and what replaces it.
  using Replacement = std::pair<int, std::vector<onnx::NodeProto>>;

  /// Holds an expert's codes. When they were the last that their node was missing, its tensors are
  /// written, and what computes all experts takes the place of the plain node that gives the
  /// result.
  [[nodiscard]] std::optional<Replacement> Take(const Graph& graph, const Linear& linear,
                                                const QuantizedMatrix& q, TensorSink& sink);

 private:
  using Place = std::pair<bool, int64_t>;  ///< whether it is the second product; the expert
  std::map<int, std::map<Place, QuantizedMatrix>> held_;  ///< by the node's number
};

}  // namespace ptq
