// A model whose constants stay in memory, where it has room for them, to be run often.
#pragma once

#include <cstdint>
#include <vector>

#include "ptq/runtime/executor.h"

namespace ptq {

/// Holds the constants that some of a graph's values need, as float32. Where weights of 16 bits
/// would take more than `budget` bytes so, each is widened a tile at a time whenever it is used,
/// and sums may be taken in another order. Immutable; may be used from several threads.
class LoadedModel {
 public:
  /// `executor` outlives this. `budget` 0: half of the machine's memory. Throws what
  /// Executor::LoadConstants throws.
  LoadedModel(const Executor& executor, std::vector<ValueId> goals, int64_t budget = 0);
  /// Those values for the graph's inputs; throws what Executor::Run throws.
  [[nodiscard]] Values Run(Values inputs) const;
  /// Whether constants are held.
  [[nodiscard]] bool holds_constants() const { return holds_; }

 private:
  const Executor* executor_;
  Job job_;
  bool holds_ = true;
  Values constants_;
};

}  // namespace ptq
