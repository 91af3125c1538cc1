// Checks a written model as a runtime does when it loads it, apart from what wrote it.
#pragma once

#include <filesystem>

#include <onnx/onnx_pb.h>

namespace ptq {

/// Every domain is imported once; every node of ai.onnx, and every one of com.microsoft that the
/// formats write, exists in the imported opset with its attributes, inputs and the types of its
/// values; the IR version knows the types of the initializers. Operators of others are not judged.
/// What is wrong with an operator in the same way in the source is let pass: runtimes do so with
/// more than the specification does. Throws QualityError that names the first node or value for
/// which that is not so.
void CheckLoads(const onnx::ModelProto& model, const onnx::ModelProto& source = {});
/// The same of a file, whose weights are in external data. Throws QualityError, InputError.
void CheckLoads(const std::filesystem::path& file, const onnx::ModelProto& source = {});

}  // namespace ptq
