// Runs a plan, whole or segment by segment, in float32 whatever the model's float type.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "ptq/runtime/execution_plan.h"

namespace ptq {

/// Values by number: the activations on a cut, or the inputs of a graph.
using Values = std::unordered_map<ValueId, Tensor>;

/// Called for each tapped value when it is known. May be called from several threads.
using Tap = std::function<void(ValueId, const Tensor&)>;

/// A part of a segment to run: the values wanted from it and the steps they need.
struct Job {
  std::vector<int> steps;
  std::vector<ValueId> goals;   ///< kept in the result
  std::vector<ValueId> taps;    ///< handed to the Tap
  std::vector<ValueId> inputs;  ///< what must come over the cut, or from the caller
  /// For each step, the values that no later step of the job, goal or tap needs.
  std::vector<std::vector<ValueId>> release;
};

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

  /// Runs a job on the values that come over the cut; returns its goals. Inputs that the job no
  /// longer needs are freed as it goes when `inputs` is moved in. Const and thread-safe.
  [[nodiscard]] Values Run(const Job& job, const Values& constants, Values inputs,
                           const Tap& tap = {}) const;

  /// Runs the whole graph, segment by segment; returns every graph output as float32 or integers.
  [[nodiscard]] Values RunAll(Values inputs, const Values& overrides = {}) const;

 private:
  [[nodiscard]] std::vector<ValueId> InputsOf(const std::vector<int>& steps,
                                              const std::vector<ValueId>& wanted) const;
  [[nodiscard]] bool IsTable(int node) const;
  Tensor EvaluateConstant(ValueId id, const Values& overrides, Values& known) const;
  void RunStep(const Step& step, std::vector<Tensor>& table, const Values& constants,
               const std::vector<ValueId>& release) const;
  std::vector<Tensor> RunBranch(const Step& step, const std::vector<Tensor>& inputs,
                                const std::function<Tensor(ValueId)>& lookup) const;
  ExecutionPlan plan_;
};

/// Runs a model on named arrays, checks names, types and ranks against the declaration
/// (InputError), and returns outputs by name in their declared element types.
[[nodiscard]] std::map<std::string, Tensor> RunModel(const Executor& executor,
                                                     const std::map<std::string, Tensor>& inputs);

}  // namespace ptq
