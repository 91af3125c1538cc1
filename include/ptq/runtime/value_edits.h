// What a pass changes about the values that it makes and hands on.
#pragma once

#include <map>
#include <memory>
#include <unordered_map>

#include "ptq/model/graph.h"
#include "ptq/tensor/tensor.h"

namespace ptq {

/// Values by number: the activations on a cut, or the inputs of a graph.
using Values = std::unordered_map<ValueId, Tensor>;

/// What somebody reads instead of a value, such as its rounding. Immutable and thread-safe.
class ValueEdit {
 public:
  ValueEdit() = default;
  virtual ~ValueEdit() = default;
  ValueEdit(const ValueEdit&) = delete;
  ValueEdit& operator=(const ValueEdit&) = delete;
  /// `value` is float32; the result has its shape.
  [[nodiscard]] virtual Tensor Of(const Tensor& value) const = 0;
};

/// With them, and with other constants, a graph computes what another one does.
struct ValueEdits {
  Values additions;  ///< vectors to add to the rows of values as soon as they are known
  /// By node: what it reads as its first input instead.
  std::map<int, std::shared_ptr<const ValueEdit>> first_inputs;

  /// Takes over what there is no edit for yet.
  void Merge(const ValueEdits& other) {
    additions.insert(other.additions.begin(), other.additions.end());
    first_inputs.insert(other.first_inputs.begin(), other.first_inputs.end());
  }
  void Clear() { *this = {}; }
};

}  // namespace ptq
