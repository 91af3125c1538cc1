// What the forms of a plan need of a model, and what is left for the passes over its graph.
#pragma once

#include <onnx/onnx_pb.h>

#include "ptq/plan/plan.h"
#include "ptq/transform/transform.h"

namespace ptq {

/// Raises what the model imports as far as the forms of its linears need, and says what is left
/// for the passes.
[[nodiscard]] TransformRequest RequestFor(const Plan& plan, onnx::ModelProto& model);

}  // namespace ptq
