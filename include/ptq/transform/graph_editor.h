// Edits the nodes of a copied graph and of its control flow: rewires, replaces, inserts, and drops
// what became unused.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <onnx/onnx_pb.h>

#include "ptq/model/graph.h"

namespace ptq {

/// Node numbers are those of the source Graph. Takes the nodes out of `target`, and out of the
/// subgraphs that are scopes of the source, and puts the result back in Commit. Names mean the same
/// in all scopes, so what lives is found as if all nodes stood in one graph.
class GraphEditor {
 public:
  /// `target` is an edited copy of the source's GraphProto with a node for each of its nodes (found
  /// by their outputs; there may be more).
  GraphEditor(const Graph& source, onnx::GraphProto& target);

  /// What the node reads there now.
  [[nodiscard]] std::string InputOf(int node, int input) const;
  /// Makes the node (or what replaced it) read `name` instead of what it read there.
  void SetInput(int node, int input, const std::string& name);
  void RenameOutput(int node, int output, const std::string& name);
  void Replace(int node, std::vector<onnx::NodeProto> nodes);
  /// Sets an attribute of those that replaced the node and have it.
  void SetAttribute(int node, const std::string& name, int64_t value);
  /// Places a node behind the producer of a value; for inputs and initializers in front of all
  /// others of their scope.
  void InsertBehind(ValueId value, onnx::NodeProto node);

  /// Puts the original node back for every form whose nodes nobody edited.
  void RestoreUntouched(const std::vector<SpelledOut>& forms);

  /// Names that live nodes and the graph's outputs need, as the graph stands now.
  [[nodiscard]] std::unordered_set<std::string> NeededNames();
  /// Puts the live nodes back into the target, producers before consumers.
  void Commit();

 private:
  struct Slot {
    std::vector<onnx::NodeProto> nodes;
    std::vector<onnx::NodeProto> behind;
    bool replaced = false;
    bool edited = false;
    int scope = 0;
  };
  /// A node, and the scope that it stands in.
  struct Placed {
    onnx::NodeProto* node;
    int scope;
  };
  [[nodiscard]] Slot& SlotOf(int node) { return slots_[slot_of_node_[size_t(node)]]; }
  [[nodiscard]] onnx::GraphProto& GraphOf(int scope);
  void TakeNodes(int scope, const std::vector<int>& nodes);
  void FindLive(std::vector<Placed>& live, std::unordered_set<std::string>& needed);

  const Graph& source_;
  onnx::GraphProto& target_;
  std::vector<Slot> slots_;
  std::vector<size_t> slot_of_node_;
  std::vector<std::vector<onnx::NodeProto>> front_;  ///< by scope
  std::map<std::pair<int, int>, std::string> rewired_;
  std::unordered_set<std::string> unused_before_;  ///< outputs that nobody read in the source
};

}  // namespace ptq
