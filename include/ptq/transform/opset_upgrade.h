// Raises a model's ai.onnx opset without changing what any node computes.
#pragma once

#include <string>
#include <string_view>

#include <onnx/onnx_pb.h>

#include "ptq/transform/transform.h"

namespace ptq {

/// The opset that this build can raise models to.
inline constexpr int64_t kUpgradedOpset = 21;
/// Older operators differ in too many ways (broadcast attributes).
inline constexpr int64_t kOldestUpgradable = 7;

/// Rewrites the nodes that opset 21 defines otherwise (subgraphs included) and sets the import.
/// Nothing happens to a model at opset 21 or above. Throws UnsupportedError naming the first node
/// for which no safe form is known; `reason` says what needs the new opset. Initializers that a
/// node needs are added to its graph.
void UpgradeOpset(onnx::ModelProto& model, const std::string& reason);

/// Raises the output's opset to what is asked for.
class OpsetUpgrade : public Transform {
 public:
  OpsetUpgrade(OutputGraph& graph, const TransformRequest& request)
      : graph_(graph), needed_(request.opset), reason_(request.opset_reason) {}

  [[nodiscard]] std::string_view name() const override { return "opset upgrade"; }
  [[nodiscard]] TransformStage stage() const override { return TransformStage::kCopied; }
  [[nodiscard]] std::string Plan() const override;
  void Apply() override;

 private:
  OutputGraph& graph_;
  int64_t needed_;
  std::string reason_;
};

}  // namespace ptq
