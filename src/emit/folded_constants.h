// Constants that take up what would otherwise be a node: scales and biases.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>

#include "graph_editor.h"
#include "tensor_store.h"

#include "ptq/model/graph.h"
#include "ptq/tensor/tensor.h"

namespace ptq {

/// Gives nodes constants of their own in the place of those that they read: other readers of the
/// same constant keep it. Changes of one input add up.
class FoldedConstants {
 public:
  /// All outlive this.
  FoldedConstants(const Graph& graph, GraphEditor& editor, TensorStore& store)
      : graph_(graph), editor_(editor), store_(store) {}

  /// Element [.., c] divided by divisor[c]. Throws UnsupportedError when the type cannot hold it.
  void Divide(const Use& use, std::span<const float> divisor);
  /// addend[c] added to element [.., c].
  void Add(const Use& use, std::span<const float> addend);

 private:
  void Change(const Use& use, size_t size, const std::function<float(size_t, float)>& change);
  const Graph& graph_;
  GraphEditor& editor_;
  TensorStore& store_;
  std::map<std::pair<int, int>, Tensor> changed_;  ///< by node and input, as float32
};

/// Throws UnsupportedError when `after`, which was `before`, leaves the range of a type, or comes
/// so near to its end that activations may.
void CheckFoldedValue(const std::string& name, DType dtype, float before, float after);

}  // namespace ptq
