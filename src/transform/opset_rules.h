// What changed in the ai.onnx operators up to opset 21, and how older nodes are rewritten for it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/model/unique_names.h"
#include "ptq/transform/tensor_ranks.h"

namespace ptq {

/// What a rewrite may use besides the node itself.
struct RewriteContext {
  UniqueNames& names;
  TensorRanks& ranks;
  /// New initializers of the node's graph.
  std::vector<onnx::TensorProto> constants;
  /// Nodes to place in front of and behind the rewritten one.
  std::vector<onnx::NodeProto> before;
  std::vector<onnx::NodeProto> behind;
};

/// The first opset from which the operator means at 21 what it meant then; 0 when it always did, -1
/// for an operator that this build does not know.
[[nodiscard]] int64_t StableSince(const std::string& op_type);

/// Rewrites a node of opset `from` (7 to 20) so that it means the same at opset 21. Returns false
/// when no safe form is known. Call for operators with from < StableSince only.
[[nodiscard]] bool RewriteNode(onnx::NodeProto& node, int64_t from, RewriteContext& context);

}  // namespace ptq
