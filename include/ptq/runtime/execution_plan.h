// The order of execution: steps with their kernels, what is constant, and where the graph is
// narrow.
#pragma once

#include <memory>
#include <vector>

#include "ptq/model/graph.h"
#include "ptq/ops/kernel.h"

namespace ptq {

/// One node in execution order.
struct Step {
  int node = 0;                    ///< index into Graph::nodes(), and of the step itself
  std::vector<ValueId> inputs;     ///< the node's, or of all nodes it stands for
  std::unique_ptr<Kernel> kernel;  ///< null for nodes with a body, and for those that cannot run
  bool constant = false;           ///< depends on nothing but weights
};

/// The conditions of the branches that a node stands in, the innermost first.
[[nodiscard]] std::vector<ValueId> ConditionsOf(const Graph& graph, int node);

/// Everything that a step reads: its inputs but for absent ones, what its subgraphs capture, and
/// its conditions.
[[nodiscard]] std::vector<ValueId> ReadsOf(const Graph& graph, const Step& step);

/// Consecutive steps between two narrow cuts of the graph.
struct Segment {
  int begin = 0;                  ///< first step
  int end = 0;                    ///< one past the last
  std::vector<ValueId> live_in;   ///< values that come over the cut before it: neither constant
                                  ///< nor ambient, but for graph inputs
  std::vector<ValueId> live_out;  ///< values that later segments or the caller need
};

/// Built once per graph; read-only afterwards. The Graph must outlive it.
class ExecutionPlan {
 public:
  /// A node whose operator has no kernel is no error before it is to run.
  explicit ExecutionPlan(const Graph& graph);

  [[nodiscard]] const Graph& graph() const { return *graph_; }
  [[nodiscard]] const std::vector<Step>& steps() const { return steps_; }
  /// Whether the step has something to run: a kernel, or a body.
  [[nodiscard]] bool CanRun(int step) const {
    return steps_[size_t(step)].kernel != nullptr || graph_->BodyIn(step) >= 0;
  }
  /// Throws UnsupportedError naming the first node that cannot run, its operator, and what would
  /// help.
  void RequireKernels() const;
  /// The same for one step.
  void RequireKernel(int step) const;
  [[nodiscard]] const std::vector<Segment>& segments() const { return segments_; }
  /// Whether the value depends on nothing but weights (folded once per segment, not per batch).
  [[nodiscard]] bool IsConstant(ValueId id) const { return constant_[size_t(id)]; }
  /// Whether the value depends on the graph's inputs through no product with a weight: masks,
  /// positions, rotary tables, embeddings. Cheap and wide, so a segment computes what it needs of
  /// them again instead of receiving it.
  [[nodiscard]] bool IsAmbient(ValueId id) const { return ambient_[size_t(id)]; }
  [[nodiscard]] size_t SegmentOfStep(int step) const;
  /// Index of the segment whose steps produce the value; the first for inputs.
  [[nodiscard]] size_t SegmentOf(ValueId id) const {
    return SegmentOfStep(graph_->value(id).producer);
  }
  /// Steps of a segment that are needed for `goals`, in order, with the earlier steps that compute
  /// ambient values again; constants are not among them.
  [[nodiscard]] std::vector<int> StepsFor(const Segment& segment,
                                          const std::vector<ValueId>& goals) const;
  /// The same for one iteration of a body, a scope of the graph.
  [[nodiscard]] std::vector<int> StepsOfBody(int body, const std::vector<ValueId>& goals) const;
  /// The body that a value belongs to; 0 for the main graph and its branches.
  [[nodiscard]] int BodyOf(ValueId id) const { return graph_->BodyOf(graph_->value(id).scope); }

 private:
  void MarkConstants();
  void MarkAmbient();
  [[nodiscard]] std::vector<int> StepsIn(int body, int begin, int end, int first,
                                         const std::vector<ValueId>& goals) const;
  [[nodiscard]] int OwnerWithin(int body, ValueId id) const;
  const Graph* graph_;
  std::vector<Step> steps_;
  std::vector<bool> constant_;
  std::vector<bool> ambient_;
  std::vector<Segment> segments_;
};

}  // namespace ptq
