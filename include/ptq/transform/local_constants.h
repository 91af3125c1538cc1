// Gives subgraphs the constants of their DequantizeLinear nodes.
#pragma once

#include <string>
#include <string_view>

#include "ptq/transform/transform.h"

namespace ptq {

/// Adds to each subgraph a copy, under a name of its own, of every tensor of the store that a
/// DequantizeLinear in it reads: ONNX Runtime (1.31) fuses that operator with the product behind
/// it, and refuses the model when it does not find the codes in the same graph. Copies refer to the
/// same bytes of the data file.
class LocalConstants : public Transform {
 public:
  explicit LocalConstants(OutputGraph& graph) : graph_(graph) {}

  [[nodiscard]] std::string_view name() const override { return "local constants"; }
  [[nodiscard]] TransformStage stage() const override { return TransformStage::kHeld; }
  [[nodiscard]] std::string Plan() const override;
  void Apply() override;

 private:
  OutputGraph& graph_;
};

}  // namespace ptq
