// What a Loop, Scan or SequenceMap does around its body.
#pragma once

#include <functional>
#include <vector>

#include "ptq/model/graph.h"

namespace ptq {

/// Runs one iteration: takes the body's inputs, gives its outputs.
using BodyFunction = std::function<std::vector<Tensor>(std::vector<Tensor>)>;

/// Runs all iterations of the node and returns its outputs, by the specification of its opset.
/// Where there is no iteration, an output that would be stacked has the declared shape, with 0 for
/// what is not known, as ONNX Runtime gives it. Throws InputError.
[[nodiscard]] std::vector<Tensor> Iterate(const Graph& graph, int node, std::vector<Tensor> inputs,
                                          const BodyFunction& body);

}  // namespace ptq
