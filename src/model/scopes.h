// Gives every name of a model one meaning, and the weights of subgraphs to the main graph.
#pragma once

#include <onnx/onnx_pb.h>

namespace ptq {

/// Operators whose subgraphs are scopes of the analysis: If, Loop, Scan and SequenceMap of ai.onnx.
/// What they pass to a subgraph has no name, so names inside are free to change.
[[nodiscard]] bool IsControlFlow(const onnx::NodeProto& node);

/// Renames what subgraphs of control flow define where another scope defines the same name (the
/// branches of an If usually do), and moves their initializers to the main graph, but for those
/// that a subgraph gives out or takes in. Subgraphs of other operators keep what they define.
void UnifyScopes(onnx::ModelProto& model);

}  // namespace ptq
