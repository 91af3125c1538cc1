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

/// Those of a node of the source come within one segment, those of a Mixture in several.
class HeldExperts {
 public:
  /// A node of the graph, and what replaces it.
  using Replacement = std::pair<int, std::vector<onnx::NodeProto>>;
  /// Codes by part and number of the expert.
  using Codes = std::map<std::pair<ExpertPart, int64_t>, QuantizedMatrix>;

  /// Holds an expert's codes. When they were the last that their node was missing, its tensors are
  /// written, and what computes all experts takes the place of the plain node that gives the
  /// result.
  [[nodiscard]] std::optional<Replacement> Take(const Graph& graph, const Plan& plan,
                                                const Linear& linear, const QuantizedMatrix& q,
                                                TensorSink& sink);
  /// Whether any are held.
  [[nodiscard]] bool IsWaiting() const { return !held_.empty(); }

 private:
  using Owner = std::pair<int, int>;  ///< form and mixture of an ExpertPlace
  std::map<Owner, Codes> held_;
};

}  // namespace ptq
