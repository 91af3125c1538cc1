// Makes one model of two, with an input that says which of them it is.
#pragma once

#include <array>
#include <string>
#include <unordered_map>

#include <onnx/onnx_pb.h>

#include "ptq/transform/align_models.h"

namespace ptq {

struct SwitchOptions {
  std::string input = "precision";                         ///< name of the input that chooses
  std::array<std::string, 2> names = {"first", "second"};  ///< of the models, in names of values
  int default_model = 0;  ///< what the input is when nobody sets it
};

/// Brings both models to the higher of their opsets and IR versions. Throws UnsupportedError that
/// names a node whose operator means something else there and has no known safe form.
void UnifyVersions(onnx::ModelProto& first, onnx::ModelProto& second);

/// Initializers that are listed among the inputs, so that a caller may replace them, leave that
/// list unless both models list them with equal values (AlignModels tells what `equal` is).
void DropUnsharedDefaults(onnx::ModelProto& first, onnx::ModelProto& second,
                          const std::unordered_map<std::string, std::string>& equal);

/// Throws UnsupportedError, or UsageError for what options can change, with the first reason why
/// the two cannot be one model: inputs or outputs that differ, outputs that no node makes,
/// functions of one name and different bodies, a name that is taken.
void CheckSwitchable(const onnx::ModelProto& first, const onnx::ModelProto& second,
                     const std::string& input);

/// The first model with an Ifs for each region of the alignment, whose branches are the nodes of
/// the two. The scalar input (int64, 0: the first model, else the second) has a default and so need
/// not be set. Tensors of 1 KiB and more that branches read are initializers of the outer graph,
/// but for those of DequantizeLinear and QuantizeLinear, which runtimes look for beside the node.
[[nodiscard]] onnx::ModelProto MakeSwitched(const onnx::ModelProto& first,
                                            const onnx::ModelProto& second,
                                            const Alignment& alignment,
                                            const SwitchOptions& options);

}  // namespace ptq
