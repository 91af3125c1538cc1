// Gives the values that a node reads and makes other names, in its subgraphs, too.
#pragma once

#include <string>
#include <unordered_map>

#include <onnx/onnx_pb.h>

namespace ptq {

using NameMap = std::unordered_map<std::string, std::string>;

/// Replaces every name of a value that `names` has; names of nodes stay.
void RenameValues(onnx::NodeProto& node, const NameMap& names);
void RenameValues(onnx::GraphProto& graph, const NameMap& names);

}  // namespace ptq
