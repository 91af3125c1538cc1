// The element type of every value of a model, as far as operators and declarations tell.
#pragma once

#include <string>
#include <unordered_map>

#include <onnx/onnx_pb.h>

#include "ptq/tensor/dtype.h"

namespace ptq {

/// Element types by name. Names mean the same in all scopes of a model that was loaded.
class ValueTypes {
 public:
  /// `known`: types of initializers that the model does not hold itself. A declaration counts only
  /// where the operators tell nothing.
  explicit ValueTypes(const onnx::ModelProto& model,
                      std::unordered_map<std::string, DType> known = {});

  /// kUndefined when it is not known, and for what is no tensor.
  [[nodiscard]] DType Of(const std::string& name) const;

 private:
  class Walk;
  std::unordered_map<std::string, DType> types_;
  std::unordered_map<std::string, DType> elements_;  ///< of sequences
};

}  // namespace ptq
