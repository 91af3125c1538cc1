// Replaces calls of model-local functions by their bodies.
#pragma once

#include <onnx/onnx_pb.h>

namespace ptq {

/// Inlines every call (nested ones too, also inside subgraphs) and clears the function list.
/// Internal names get a unique prefix; attribute references take the call's values or the declared
/// defaults. Throws InputError for recursion, UnsupportedError when a function needs another opset
/// version of a domain than the model imports and an operator in it is affected.
void InlineFunctions(onnx::ModelProto& model);

}  // namespace ptq
