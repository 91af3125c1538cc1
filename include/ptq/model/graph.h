// The graph as values and nodes with numbers: who produces, who consumes, what is constant, and
// what runs under which condition.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ptq/model/model.h"
#include "ptq/model/node.h"

namespace ptq {

using ValueId = int32_t;
inline constexpr ValueId kNoValue = -1;

/// One consumer of a value.
struct Use {
  int node;   ///< index into Graph::nodes()
  int input;  ///< index into Graph::inputs(node); -1 when it is used by, or given to, a subgraph
};

/// A named edge of the graph.
struct Value {
  std::string name;
  int producer = -1;  ///< index of the node, -1 for inputs of the graph or a body, and initializers
  int scope = 0;      ///< where it is defined
  std::vector<Use> uses;
  bool graph_input = false;  ///< fed by the caller (initializers that are listed as inputs are not)
  bool graph_output = false;
  const StoredTensor* constant = nullptr;          ///< initializer, or the value of a Constant node
  const onnx::ValueInfoProto* declared = nullptr;  ///< where its type is declared, if it is
};

/// A GraphProto whose nodes are among the graph's: the main graph, a branch of an If, which runs
/// when its condition holds, or a body of a Loop, Scan or SequenceMap, which runs many times.
struct Scope {
  const onnx::GraphProto* proto = nullptr;
  int parent = -1;               ///< scope; -1: this is the main graph
  int owner = -1;                ///< node that has it as an attribute
  std::string attribute;         ///< of the owner
  ValueId condition = kNoValue;  ///< of a branch
  bool polarity = false;         ///< what the condition must be
  int first = 0;                 ///< of a body: its nodes are those from here up to the owner
  std::vector<ValueId> inputs;   ///< of a body
  std::vector<ValueId> outputs;
  [[nodiscard]] bool is_branch() const { return condition != kNoValue; }
};

/// Index over a model's main graph and the subgraphs of its control flow, as one list of nodes in
/// topological order. The nodes of an If's branches stand in front of it, those of both taking
/// turns, and the If is the step that takes the outputs of the branch that ran: its inputs here are
/// the condition, the outputs of the then branch, and those of the else branch. Of a condition that
/// is a stored constant only the branch taken is here. The nodes of a body stand in front of its
/// owner. Non-owning: the Model must outlive it.
class Graph {
 public:
  /// Throws InputError for cycles, values nobody produces, duplicate names.
  explicit Graph(const Model& model);

  [[nodiscard]] const Model& model() const { return *model_; }
  /// The main graph.
  [[nodiscard]] const onnx::GraphProto& proto() const { return *scopes_.front().proto; }
  [[nodiscard]] const std::vector<Node>& nodes() const { return nodes_; }
  [[nodiscard]] const std::vector<Value>& values() const { return values_; }
  /// Throws InputError for kNoValue: an operand that the operator needs is absent.
  [[nodiscard]] const Value& value(ValueId id) const {
    if (id < 0) RefuseAbsent();
    return values_[static_cast<size_t>(id)];
  }
  /// Consumers that read the value's elements, not its shape alone.
  [[nodiscard]] size_t Readers(ValueId id) const;
  /// Whether one consumer reads the elements and nobody else, the caller included, gets to see
  /// them.
  [[nodiscard]] bool HasOneReader(ValueId id) const;
  /// kNoValue when there is no such name.
  [[nodiscard]] ValueId Find(std::string_view name) const;
  /// Inputs and outputs of a node by number; kNoValue for absent optionals.
  [[nodiscard]] const std::vector<ValueId>& inputs(int node) const { return inputs_[size_t(node)]; }
  [[nodiscard]] const std::vector<ValueId>& outputs(int node) const {
    return outputs_[size_t(node)];
  }
  /// What the node's subgraphs use of outer scopes; of an If only the branch that is not here.
  [[nodiscard]] const std::vector<ValueId>& captures(int node) const {
    return captures_[size_t(node)];
  }
  [[nodiscard]] const std::vector<ValueId>& graph_inputs() const { return scopes_[0].inputs; }
  [[nodiscard]] const std::vector<ValueId>& graph_outputs() const { return scopes_[0].outputs; }

  /// The main graph is the first; a scope comes behind its parent.
  [[nodiscard]] const std::vector<Scope>& scopes() const { return scopes_; }
  [[nodiscard]] const Scope& scope(int index) const { return scopes_[size_t(index)]; }
  [[nodiscard]] int ScopeOf(int node) const { return scope_of_node_[size_t(node)]; }
  /// The scope whose nodes run together with those of `scope`: the nearest that is not a branch.
  [[nodiscard]] int BodyOf(int scope) const;
  /// The body that the node has; -1 when it has none.
  [[nodiscard]] int BodyIn(int node) const { return body_in_[size_t(node)]; }

  /// Element type and shape (-1 for an unknown dimension) as declared where the value is defined.
  struct Declared {
    DType dtype = DType::kUndefined;
    std::optional<Shape> shape;
    std::vector<std::string> names;  ///< of the dimensions, empty where they have none
  };
  [[nodiscard]] Declared DeclaredType(ValueId id) const;
  /// Whether a use is of the elements of a value, not of its shape alone.
  [[nodiscard]] bool ReadsElements(const Use& use) const;

 private:
  friend class GraphFlattener;
  [[noreturn]] static void RefuseAbsent();

  const Model* model_;
  std::vector<Node> nodes_;
  std::vector<Value> values_;
  std::unordered_map<std::string, ValueId> by_name_;
  std::vector<std::vector<ValueId>> inputs_, outputs_, captures_;
  std::vector<Scope> scopes_;
  std::vector<int> scope_of_node_, body_in_;
};

}  // namespace ptq
