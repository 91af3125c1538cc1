// The names that a GraphProto takes up, for whoever has to find new ones.
#pragma once

#include <set>
#include <string>

#include <onnx/onnx_pb.h>

namespace ptq {

/// Everything that is defined or read in a graph and in all graphs inside it, names of nodes
/// included: initializers that have been taken out are known by who reads them.
[[nodiscard]] std::set<std::string> NamesIn(const onnx::GraphProto& graph);

}  // namespace ptq
