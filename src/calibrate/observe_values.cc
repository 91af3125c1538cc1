// Carries all inputs from cut to cut.
#include "ptq/calibrate/observe_values.h"

#include <utility>

#include "ptq/base/interrupt.h"

namespace ptq {

void ObserveValues(const Executor& executor, std::vector<Values> inputs,
                   const Observation& observation) {
  for (Values& values : inputs) {
    for (auto& [id, tensor] : values) tensor = tensor.Widened();
  }
  const auto& segments = executor.plan().segments();
  for (const Segment& segment : segments) {
    const bool last = &segment == &segments.back();
    const Job job = executor.MakeJob(segment, last ? std::vector<ValueId>() : segment.live_out,
                                     observation.taps(segment));
    const Values constants = executor.LoadConstants(job);
    for (Values& values : inputs) {
      CheckInterrupt();
      values = executor.Run(job, constants, std::move(values), observation.see);
    }
    executor.DropWeights(segment);
    observation.behind();
  }
}

}  // namespace ptq
