// The graph as values and nodes with numbers: who produces, who consumes, what is constant.
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
  int input;  ///< index of the node's input; -1 when a subgraph of the node captures the value
};

/// A named edge of the graph.
struct Value {
  std::string name;
  int producer = -1;  ///< index of the node, -1 for graph inputs, initializers and captured values
  std::vector<Use> uses;
  bool graph_input = false;  ///< fed by the caller (initializers that are listed as inputs are not)
  bool graph_output = false;
  bool captured = false;                        ///< in a subgraph: defined in an outer scope
  const onnx::TensorProto* constant = nullptr;  ///< initializer, or the value of a Constant node
};

/// Index over one GraphProto; nodes are in topological order. Non-owning: the Model must outlive
/// it.
class Graph {
 public:
  /// The main graph. Throws InputError for cycles, values nobody produces, duplicate names.
  explicit Graph(const Model& model) : Graph(model, model.graph(), {}) {}
  /// A subgraph (an If branch …): names of `outer` that it uses become captured values.
  Graph(const Model& model, const onnx::GraphProto& proto, const std::vector<std::string>& outer);

  [[nodiscard]] const Model& model() const { return *model_; }
  [[nodiscard]] const onnx::GraphProto& proto() const { return *proto_; }
  [[nodiscard]] const std::vector<Node>& nodes() const { return nodes_; }
  [[nodiscard]] const std::vector<Value>& values() const { return values_; }
  [[nodiscard]] const Value& value(ValueId id) const { return values_[static_cast<size_t>(id)]; }
  /// Consumers that read the value's elements, not its shape alone.
  [[nodiscard]] size_t Readers(ValueId id) const;
  /// Whether one consumer reads the elements and nobody else, the caller included, gets to see
  /// them.
  [[nodiscard]] bool HasOneReader(ValueId id) const {
    return Readers(id) == 1 && !value(id).graph_output;
  }
  /// kNoValue when there is no such name.
  [[nodiscard]] ValueId Find(std::string_view name) const;
  /// Inputs and outputs of a node by number; kNoValue for absent optionals.
  [[nodiscard]] const std::vector<ValueId>& inputs(int node) const { return inputs_[size_t(node)]; }
  [[nodiscard]] const std::vector<ValueId>& outputs(int node) const {
    return outputs_[size_t(node)];
  }
  /// Values of this scope that the node's subgraphs use.
  [[nodiscard]] const std::vector<ValueId>& captures(int node) const {
    return captures_[size_t(node)];
  }
  [[nodiscard]] const std::vector<ValueId>& graph_inputs() const { return graph_inputs_; }
  [[nodiscard]] const std::vector<ValueId>& graph_outputs() const { return graph_outputs_; }
  /// Index into the GraphProto's node list of the node with this number.
  [[nodiscard]] int ProtoIndex(int node) const { return order_[size_t(node)]; }

  /// Element type and shape (-1 for an unknown dimension) of a graph input or output, as declared.
  struct Declared {
    DType dtype = DType::kUndefined;
    std::optional<Shape> shape;
  };
  [[nodiscard]] Declared DeclaredType(ValueId id) const;

 private:
  ValueId Intern(const std::string& name);
  void AddNodes(const std::vector<std::string>& outer);
  void SortNodes();
  const Model* model_;
  const onnx::GraphProto* proto_;
  std::vector<Node> nodes_;
  std::vector<int> order_;
  std::vector<Value> values_;
  std::unordered_map<std::string, ValueId> by_name_;
  std::vector<std::vector<ValueId>> inputs_, outputs_, captures_;
  std::vector<ValueId> graph_inputs_, graph_outputs_;
};

/// Names that a GraphProto uses but does not define (captured from outer scopes), in first-use
/// order.
[[nodiscard]] std::vector<std::string> FreeNames(const onnx::GraphProto& graph);

}  // namespace ptq
