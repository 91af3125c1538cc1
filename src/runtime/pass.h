// Walks the steps of a job over a table of all values.
#pragma once

#include <set>
#include <vector>

#include "ptq/runtime/executor.h"

namespace ptq {

/// One run of a job. A step of a branch whose condition does not hold is passed over; what it would
/// have made stays undefined. The iterations of a body run in the same table.
class Pass {
 public:
  Pass(const Executor& executor, const Tap& tap, const ValueEdits& edits)
      : executor_(executor), tap_(tap), edits_(edits), table_(executor.graph().values().size()) {}
  virtual ~Pass() = default;
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

  /// Returns the job's goals as far as they were made, constants included.
  [[nodiscard]] Values Run(const Job& job, Values inputs);

 protected:
  /// Runs a step that is to run, and releases what it is the last to read.
  virtual void RunStep(const Job& job, size_t index) = 0;
  virtual Tensor Constant(ValueId id) = 0;

  [[nodiscard]] const Graph& graph() const { return executor_.graph(); }
  [[nodiscard]] const Step& StepOf(const Job& job, size_t index) const {
    return executor_.plan().steps()[size_t(job.steps[index])];
  }
  [[nodiscard]] std::vector<Tensor>& table() { return table_; }
  /// Runs a kernel, or the iterations of a body.
  void Execute(const Job& job, size_t index);
  void Release(const Job& job, size_t index);

 private:
  [[nodiscard]] Tensor Lookup(ValueId id);
  [[nodiscard]] bool Holds(const Step& step);
  void Walk(const Job& job);
  void TapValue(const std::set<ValueId>& taps, ValueId id);
  std::vector<Tensor> RunBody(const Job& job, std::vector<Tensor> inputs);

  const Executor& executor_;
  void AddTo(ValueId id);
  void Round(ValueId id);
  const Tap& tap_;
  const ValueEdits& edits_;
  std::vector<Tensor> table_;
};

}  // namespace ptq
