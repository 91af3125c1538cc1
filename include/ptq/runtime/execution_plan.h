// The order of execution: steps with their kernels, what is constant, and where the graph is
// narrow.
#pragma once

#include <memory>
#include <vector>

#include "ptq/model/graph.h"
#include "ptq/ops/kernel.h"

namespace ptq {

class Executor;

/// One branch of an If: its graph and the executor that runs it.
struct Branch {
  Branch(const Graph& outer, const onnx::GraphProto& proto);
  ~Branch();
  std::unique_ptr<Graph> graph;
  std::unique_ptr<Executor> executor;
};

/// One node in execution order.
struct Step {
  int node = 0;                                   ///< index into Graph::nodes()
  std::vector<ValueId> inputs;                    ///< the node's, or of all nodes it stands for
  std::unique_ptr<Kernel> kernel;                 ///< null for If
  std::vector<std::unique_ptr<Branch>> branches;  ///< If: then, else
  bool constant = false;                          ///< depends on nothing but weights
};

/// Everything that a step reads: its inputs but for absent ones, and what its branches capture.
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
  /// Throws UnsupportedError naming the first node whose operator has no kernel.
  explicit ExecutionPlan(const Graph& graph);

  [[nodiscard]] const Graph& graph() const { return *graph_; }
  [[nodiscard]] const std::vector<Step>& steps() const { return steps_; }
  [[nodiscard]] const std::vector<Segment>& segments() const { return segments_; }
  /// Whether the value depends on nothing but weights (folded once per segment, not per batch).
  [[nodiscard]] bool IsConstant(ValueId id) const { return constant_[size_t(id)]; }
  /// Whether the value depends on the graph's inputs through no product with a weight: masks,
  /// positions, rotary tables, embeddings. Cheap and wide, so a segment computes what it needs of
  /// them again instead of receiving it.
  [[nodiscard]] bool IsAmbient(ValueId id) const { return ambient_[size_t(id)]; }
  /// Index of the segment whose steps produce the value; the first for inputs.
  [[nodiscard]] size_t SegmentOf(ValueId id) const;
  /// Steps of a segment that are needed for `goals`, in order, with the earlier steps that compute
  /// ambient values again; constants are not among them.
  [[nodiscard]] std::vector<int> StepsFor(const Segment& segment,
                                          const std::vector<ValueId>& goals) const;

 private:
  void MarkConstants();
  void MarkAmbient();
  void MakeSegments();
  const Graph* graph_;
  std::vector<Step> steps_;
  std::vector<bool> constant_;
  std::vector<bool> ambient_;
  std::vector<Segment> segments_;
};

}  // namespace ptq
