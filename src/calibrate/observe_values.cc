// Carries from cut to cut what later segments need.
#include "ptq/calibrate/observe_values.h"

#include <utility>

#include "ptq/base/interrupt.h"
#include "ptq/base/memory.h"

namespace ptq {
namespace {

/// What each segment must hand on for the taps of later ones; what the graph gives out is not among
/// it.
std::vector<std::vector<ValueId>> HandedOn(const Executor& executor,
                                           const Observation& observation) {
  const auto& segments = executor.plan().segments();
  std::vector<std::vector<ValueId>> goals(segments.size());
  std::vector<ValueId> needed;
  for (size_t i = segments.size(); i-- > 0;) {
    goals[i] = std::move(needed);
    needed = executor.MakeJob(segments[i], goals[i], observation.taps(segments[i])).inputs;
  }
  return goals;
}

}  // namespace

void ObserveValues(const Executor& executor, std::vector<Values> inputs,
                   const Observation& observation) {
  for (Values& values : inputs) {
    for (auto& [id, tensor] : values) tensor = tensor.Widened();
  }
  const auto& segments = executor.plan().segments();
  const std::vector<std::vector<ValueId>> goals = HandedOn(executor, observation);
  for (size_t i = 0; i < segments.size(); ++i) {
    const Job job = executor.MakeJob(segments[i], goals[i], observation.taps(segments[i]));
    const Values constants = executor.LoadConstants(job);
    for (Values& values : inputs) {
      CheckInterrupt();
      values = executor.Run(job, constants, std::move(values), observation.see);
      ReleaseFreeMemory();  // activations come between what is kept, and leave gaps
    }
    executor.DropWeights(segments[i]);
    observation.behind();
    ReleaseFreeMemory();
  }
}

}  // namespace ptq
