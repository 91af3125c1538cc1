// Loads the constants of one job over all steps, or lets each step load its own.
#include "ptq/runtime/loaded_model.h"

#include <limits>
#include <unordered_set>
#include <utility>

#include "ptq/base/memory.h"
#include "ptq/model/constant_view.h"

namespace ptq {
namespace {

/// What constants of 16 bits take as float32. Others lie in the mapped file, or are small.
int64_t WidenedBytes(const Executor& executor, const Job& job) {
  const Graph& graph = executor.graph();
  std::unordered_set<ValueId> seen;
  int64_t bytes = 0;
  ForEachStep(job, [&](int index) {
    for (const ValueId id : executor.plan().steps()[size_t(index)].inputs) {
      if (id == kNoValue || !executor.plan().IsConstant(id)) continue;
      const auto view = ViewConstant(graph, id);
      if (!view.has_value() || !seen.insert(view->stored).second) continue;
      const StoredTensor* const stored = graph.value(view->stored).constant;
      if (stored == nullptr) continue;
      const auto dtype = DType(stored->data_type());
      if (dtype != DType::kFloat16 && dtype != DType::kBFloat16) continue;
      bytes += BytesOf(DType::kFloat32, NumElements(view->shape));
    }
  });
  return bytes;
}

int64_t BudgetOf(int64_t budget) {
  if (budget > 0) return budget;
  const int64_t half = PhysicalBytes() / 2;
  return half > 0 ? half : std::numeric_limits<int64_t>::max();
}

}  // namespace

LoadedModel::LoadedModel(const Executor& executor, std::vector<ValueId> goals, int64_t budget)
    : executor_(&executor) {
  Segment whole;
  whole.end = int(executor.plan().steps().size());
  job_ = executor.MakeJob(whole, std::move(goals), {});
  holds_ = WidenedBytes(executor, job_) <= BudgetOf(budget);
  if (holds_) constants_ = executor.LoadConstants(job_);
}

Values LoadedModel::Run(Values inputs) const {
  return holds_ ? executor_->Run(job_, constants_, std::move(inputs))
                : executor_->RunOnce(job_, {}, {}, std::move(inputs));
}

}  // namespace ptq
