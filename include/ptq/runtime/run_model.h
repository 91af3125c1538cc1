// A model as a function of named arrays.
#pragma once

#include <map>
#include <string>

#include "ptq/runtime/executor.h"
#include "ptq/tensor/tensor.h"

namespace ptq {

/// Runs a model on named arrays, checks names, types and ranks against the declaration
/// (InputError; those with a default need not be given), and returns outputs by name in their
/// declared element types.
[[nodiscard]] std::map<std::string, Tensor> RunModel(const Executor& executor,
                                                     const std::map<std::string, Tensor>& inputs);

}  // namespace ptq
