// A model whose constants stay in memory, to be run often.
#pragma once

#include <vector>

#include "ptq/runtime/executor.h"

namespace ptq {

/// Holds the constants that some of a graph's values need, as float32. Immutable; may be used from
/// several threads.
class LoadedModel {
 public:
  /// `executor` outlives this. Throws what Executor::LoadConstants throws.
  LoadedModel(const Executor& executor, std::vector<ValueId> goals);
  /// Those values for the graph's inputs; throws what Executor::Run throws.
  [[nodiscard]] Values Run(Values inputs) const;

 private:
  const Executor* executor_;
  Job job_;
  Values constants_;
};

}  // namespace ptq
