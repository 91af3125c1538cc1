// Feeds a model arrays by name, and checks them against the inputs that it declares.
#include "ptq/runtime/run_model.h"

#include <algorithm>
#include <set>

#include "ptq/base/error.h"
#include "ptq/tensor/sequence.h"

namespace ptq {
namespace {

void CheckInput(const Graph& graph, ValueId id, const Tensor& tensor) {
  const std::string& name = graph.value(id).name;
  const auto declared = graph.DeclaredType(id);
  if (declared.dtype != DType::kUndefined && declared.dtype != tensor.dtype()) {
    throw InputError("input '" + name + "' must be " + std::string(DTypeName(declared.dtype)) +
                     ", the array is " + std::string(DTypeName(tensor.dtype())));
  }
  if (!declared.shape.has_value()) return;
  bool fits = declared.shape->size() == tensor.shape().size();
  for (size_t i = 0; fits && i < tensor.shape().size(); ++i) {
    const int64_t dim = (*declared.shape)[i];
    fits = dim < 0 || dim == tensor.shape()[i];
  }
  if (!fits) {
    throw InputError("input '" + name + "' has shape " + ToString(tensor.shape()) +
                     ", the model declares " + ToString(*declared.shape) + " (-1: any)");
  }
}

/// Whether it is an input with a default: an initializer that is listed among the inputs.
bool IsOptionalInput(const Graph& graph, const std::string& name) {
  const auto& inputs = graph.model().graph().input();
  const bool listed =
      std::ranges::any_of(inputs, [&](const auto& input) { return input.name() == name; });
  return listed && graph.Find(name) != kNoValue;
}

}  // namespace

std::map<std::string, Tensor> RunModel(const Executor& executor,
                                       const std::map<std::string, Tensor>& inputs) {
  executor.plan().RequireKernels();
  const Graph& graph = executor.graph();
  std::set<std::string> used;
  Values values;
  for (const ValueId id : graph.graph_inputs()) {
    const std::string& name = graph.value(id).name;
    const auto found = inputs.find(name);
    if (found == inputs.end()) throw InputError("no array for the model's input '" + name + "'");
    CheckInput(graph, id, found->second);
    values[id] = found->second;
    used.insert(name);
  }
  Values overrides;  // of inputs that have a default
  for (const auto& [name, tensor] : inputs) {
    if (used.contains(name)) continue;
    if (!IsOptionalInput(graph, name)) throw InputError("the model has no input '" + name + "'");
    CheckInput(graph, graph.Find(name), tensor);
    overrides[graph.Find(name)] = tensor;
  }
  const Values outputs = executor.RunAll(std::move(values), overrides);
  std::map<std::string, Tensor> results;
  for (const ValueId id : graph.graph_outputs()) {
    const auto declared = graph.DeclaredType(id);
    const Tensor& tensor = outputs.at(id);
    if (tensor.dtype() == kSequence || tensor.dtype() == kEmptyOptional) {
      throw UnsupportedError("output '" + graph.value(id).name +
                             "' is no tensor but a sequence or an optional; make its tensors "
                             "outputs of the model instead");
    }
    const bool narrow = IsFloat(declared.dtype) && declared.dtype != tensor.dtype();
    results[graph.value(id).name] = narrow ? tensor.Cast(declared.dtype) : tensor;
  }
  return results;
}

}  // namespace ptq
