// Constants that take up what would otherwise be a node: scales and biases.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ptq/model/graph.h"
#include "ptq/tensor/tensor.h"
#include "ptq/transform/transform.h"

namespace ptq {

/// Gives nodes constants of their own in the place of those that they read: other readers of the
/// same constant keep it. Changes of one input add up.
class FoldedConstants : public Transform {
 public:
  FoldedConstants(OutputGraph& graph, const TransformRequest& request);

  /// Asks for element [.., c] divided by divisor[c]. `type`: in which it is stored; as before,
  /// where nothing is said.
  void Divide(const Use& use, std::span<const float> divisor, DType type = DType::kUndefined);
  /// Asks for addend[c] added to element [.., c].
  void Add(const Use& use, std::span<const float> addend, DType type = DType::kUndefined);

  /// What the node reads there, as float32, with all changes that have been applied.
  [[nodiscard]] Tensor Now(const Use& use) const;
  /// By what its elements have been divided altogether; empty: by nothing.
  [[nodiscard]] std::vector<float> DivisorOf(const Use& use) const;

  [[nodiscard]] std::string_view name() const override { return "folded constants"; }
  [[nodiscard]] TransformStage stage() const override { return TransformStage::kEdited; }
  [[nodiscard]] std::string Plan() const override;
  /// Stores the constants that have been asked for, in that order, and has the nodes read them.
  /// Throws UnsupportedError when a type cannot hold a value.
  void Apply() override;

 private:
  enum class Operation { kDivide, kAdd };
  struct Change {
    Use use;
    Operation operation;
    std::vector<float> operand;
    DType type;
  };
  void ApplyOne(const Change& change);

  OutputGraph& graph_;
  int64_t foldable_ = 0;  ///< constants that the request's sites may fold into
  std::vector<Change> asked_;
  std::map<std::pair<int, int>, Tensor> changed_;  ///< by node and input, as float32
  std::map<std::pair<int, int>, std::vector<float>> divisors_;
};

/// Throws UnsupportedError when `after`, which was `before`, leaves the range of a type, or comes
/// so near to its end that activations may.
void CheckFoldedValue(const std::string& name, DType dtype, float before, float after);

}  // namespace ptq
