// Names of operator domains; gives every one of a model one name and one version.
#pragma once

#include <onnx/onnx_pb.h>

namespace ptq {

inline constexpr char kMicrosoftDomain[] = "com.microsoft";

/// Writes the default domain as "" everywhere ("ai.onnx" is its other name), and keeps one import
/// of each domain: of several, the last version counts, as in ONNX Runtime. com.microsoft, which
/// that needs not be told of, is imported when a node is of it.
void UnifyDomains(onnx::ModelProto& model);

}  // namespace ptq
