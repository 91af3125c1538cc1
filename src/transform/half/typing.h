// The type that every node of a graph computes in, and what follows for values and Casts.
#pragma once

#include <string>
#include <vector>

#include "flat_graph.h"

#include "ptq/transform/half_graph.h"

namespace ptq {

/// FP16 for every node that can, until it is told otherwise. The graph outlives this.
class Typing {
 public:
  /// `half_io`: inputs and outputs of the graph change their types, too.
  Typing(const FlatGraph& graph, bool half_io);

  [[nodiscard]] const FlatGraph& graph() const { return graph_; }
  [[nodiscard]] bool IsFloat(int node) const { return reasons_[size_t(node)] != kNoIsland; }
  [[nodiscard]] IslandReason reason(int node) const { return IslandReason(reasons_[size_t(node)]); }
  /// Keeps a node in FP32; the first reason stays. False when it was there already, or reads and
  /// makes no floats.
  bool KeepFloat(int node, IslandReason reason);
  /// The same, undone.
  void Release(int node) { reasons_[size_t(node)] = kNoIsland; }

  /// The type in which a value is known, which no constant is.
  [[nodiscard]] DType Produced(int value) const;
  /// The type that a reader asks for; kUndefined where it takes any.
  [[nodiscard]] DType Wanted(const FlatReader& reader) const;
  /// Casts that a value needs.
  [[nodiscard]] int Casts(int value) const;
  /// Whether the node reads or makes floats whose type is its own choice.
  [[nodiscard]] bool HasChoice(int node) const;

 private:
  /// Whether the node takes or makes other floats than FP16, and cannot do otherwise.
  [[nodiscard]] bool IsFixed(int node) const;

  static constexpr int kNoIsland = -1;
  const FlatGraph& graph_;
  const bool half_io_;
  std::vector<int> reasons_;
};

}  // namespace ptq
