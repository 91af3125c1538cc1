// Lets a model run on some inputs and shows values of it, before anything is quantized.
#pragma once

#include <functional>
#include <vector>

#include "ptq/runtime/executor.h"

namespace ptq {

/// What is to be seen of a segment; and what follows when all inputs have gone through it.
struct Observation {
  std::function<std::vector<ValueId>(const Segment&)> taps;
  Tap see;  ///< in the order of the inputs
  std::function<void()> behind = [] {};
};

/// Runs every input through the whole graph, one segment after the other, so that its weights are
/// loaded once.
void ObserveValues(const Executor& executor, std::vector<Values> inputs,
                   const Observation& observation);

}  // namespace ptq
