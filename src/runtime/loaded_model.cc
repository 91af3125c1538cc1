// Loads the constants of one job over all steps.
#include "ptq/runtime/loaded_model.h"

#include <utility>

namespace ptq {

LoadedModel::LoadedModel(const Executor& executor, std::vector<ValueId> goals)
    : executor_(&executor) {
  Segment whole;
  whole.end = int(executor.plan().steps().size());
  job_ = executor.MakeJob(whole, std::move(goals), {});
  constants_ = executor.LoadConstants(job_);
}

Values LoadedModel::Run(Values inputs) const {
  return executor_->Run(job_, constants_, std::move(inputs));
}

}  // namespace ptq
