// Runs a plan, whole or segment by segment, in float32 whatever the model's float type.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "ptq/runtime/execution_plan.h"
#include "ptq/runtime/value_edits.h"

namespace ptq {

/// Called for each tapped value when it is known: not at all in a branch that does not run, and in
/// every iteration of a body. May be called from several threads.
using Tap = std::function<void(ValueId, const Tensor&)>;

/// A part of a segment to run: the values wanted from it and the steps they need.
struct Job {
  std::vector<int> steps;
  std::vector<ValueId> goals;   ///< kept in the result
  std::vector<ValueId> taps;    ///< handed to the Tap
  std::vector<ValueId> inputs;  ///< what must come over the cut, or from the caller
  /// For each step, the values that no later step of the job, goal or tap needs.
  std::vector<std::vector<ValueId>> release;
  int body = 0;             ///< the scope that it is one iteration of; 0: the main graph
  std::vector<Job> bodies;  ///< of its steps that have one
};

/// Calls visit(step) for the index of every step of a job, those of bodies included.
template <class Visitor>
void ForEachStep(const Job& job, const Visitor& visit) {
  for (const int step : job.steps) visit(step);
  for (const Job& body : job.bodies) ForEachStep(body, visit);
}

/// A weight W[N, K] that stands for a product's constant, made only where a step needs it.
class DeferredWeight {
 public:
  DeferredWeight() = default;
  virtual ~DeferredWeight() = default;
  DeferredWeight(const DeferredWeight&) = default;
  DeferredWeight& operator=(const DeferredWeight&) = default;

  [[nodiscard]] virtual int64_t n() const = 0;
  [[nodiscard]] virtual int64_t k() const = 0;
  /// Rows [begin, end), row-major; `buffer` may hold them. Thread-safe.
  [[nodiscard]] virtual const float* Rows(int64_t begin, int64_t end,
                                          std::vector<float>& buffer) const = 0;
  /// The constant in the graph's own layout.
  [[nodiscard]] virtual Tensor Whole() const = 0;
};
using DeferredWeights = std::map<ValueId, std::shared_ptr<const DeferredWeight>>;

class Executor {
 public:
  explicit Executor(const Graph& graph) : plan_(graph) {}
  [[nodiscard]] const ExecutionPlan& plan() const { return plan_; }
  [[nodiscard]] const Graph& graph() const { return plan_.graph(); }

  [[nodiscard]] Job MakeJob(const Segment& segment, std::vector<ValueId> goals,
                            std::vector<ValueId> taps) const;

  /// The constants that a job needs, widened to float32 and folded. `overrides` replace weights (or
  /// any constant value) by number. Thread-safe.
  [[nodiscard]] Values LoadConstants(const Job& job, const Values& overrides = {}) const;

  /// One constant value, widened to float32 and folded. Thread-safe.
  [[nodiscard]] Tensor LoadConstant(ValueId id) const;

  /// Lets the pages of the segment's stored weights go; they are read again when needed.
  void DropWeights(const Segment& segment) const;

  /// Has the segment's stored weights (but for tables) read from the disk meanwhile.
  void PrefetchWeights(const Segment& segment) const;
  /// As DropWeights for the tables that a job gathers rows from: their pages are used once.
  void DropTables(const Job& job) const;
  /// Stored tables that a segment gathers rows from.
  [[nodiscard]] std::vector<ValueId> TablesOf(const Segment& segment) const;

  /// Runs a job on the values that come over the cut; returns its goals, but for those in branches
  /// that did not run. Inputs that the job no
  /// longer needs are freed as it goes when `inputs` is moved in. Const and thread-safe.
  [[nodiscard]] Values Run(const Job& job, const Values& constants, Values inputs,
                           const Tap& tap = {}, const ValueEdits& edits = {}) const;

  /// The same for a job that runs once: each step's constants are loaded in front of it and let go
  /// behind it, and of weights that are deferred or stored in 16 bits a product widens a tile at a
  /// time. Sums may be taken in another order than by Run.
  [[nodiscard]] Values RunOnce(const Job& job, const Values& overrides,
                               const DeferredWeights& deferred, Values inputs,
                               const ValueEdits& edits = {}) const;

  /// From now on these values are rounded to binary16 as soon as they are known, as a runtime does
  /// that computes in FP16: what is too large becomes infinite.
  void RoundToHalf(std::vector<ValueId> values);

  /// Runs the whole graph, segment by segment; returns every graph output as float32 or integers.
  [[nodiscard]] Values RunAll(Values inputs, const Values& overrides = {}) const;

 private:
  [[nodiscard]] std::vector<ValueId> InputsOf(const std::vector<int>& steps,
                                              const std::vector<ValueId>& wanted) const;
  [[nodiscard]] bool IsTable(int node) const;
  Tensor EvaluateConstant(ValueId id, const Values& overrides, Values& known) const;
  void FinishJob(Job& job) const;
  void LoadInto(Values& constants, const Job& job, const Values& overrides, Values& known) const;
  [[nodiscard]] std::optional<Tensor> ProductByTiles(const Step& step,
                                                     const std::vector<Tensor>& table,
                                                     const ValueEdits& edits,
                                                     const Values& overrides,
                                                     const DeferredWeights& deferred) const;
  friend class LoadedPass;
  friend class SinglePass;
  friend class Pass;
  ExecutionPlan plan_;
  std::unordered_set<ValueId> halves_;  ///< values to be rounded
};

}  // namespace ptq
