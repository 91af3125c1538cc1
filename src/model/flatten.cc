// Places the branches of an If and the bodies of loops in front of the node that owns them.
#include "flatten.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <unordered_map>
#include <utility>

#include "scopes.h"

#include "ptq/base/error.h"
#include "ptq/model/graph_walk.h"
#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

const onnx::GraphProto& SubgraphOf(const Node& node, const char* name) {
  const onnx::GraphProto* const body = node.Subgraph(name);
  if (body == nullptr) throw InputError("node '" + node.name() + "': no " + name);
  return *body;
}

std::vector<int> SortedNodes(const onnx::GraphProto& graph) {
  std::vector<const onnx::NodeProto*> nodes;
  for (const onnx::NodeProto& node : graph.node()) nodes.push_back(&node);
  std::optional<std::vector<int>> order = TopologicalOrder(nodes);
  if (!order.has_value()) throw InputError("the graph has a cycle");
  return std::move(*order);
}

}  // namespace

class GraphFlattener {
 public:
  GraphFlattener(const Model& model, Graph& graph) : model_(model), graph_(graph) {}

  void Run() {
    const int main = OpenScope(model_.graph(), -1);
    for (const auto& input : model_.graph().input()) {
      const ValueId id = graph_.Find(input.name());
      if (Value(id).constant != nullptr) continue;  // IR < 4 lists initializers as inputs
      Value(id).graph_input = true;
      Scope(main).inputs.push_back(id);
    }
    for (const int i : OrderOf(main)) Place(model_.graph().node(i), main);
    CloseScope(main);
    for (const ValueId id : Scope(main).outputs) Value(id).graph_output = true;
  }

 private:
  [[nodiscard]] ptq::Value& Value(ValueId id) { return graph_.values_[size_t(id)]; }
  [[nodiscard]] ptq::Scope& Scope(int scope) { return graph_.scopes_[size_t(scope)]; }

  /// A scope with all that it defines: the file need not list producers before consumers.
  int OpenScope(const onnx::GraphProto& proto, int parent, const char* attribute = "") {
    const int scope = int(graph_.scopes_.size());
    graph_.scopes_.emplace_back();
    Scope(scope).proto = &proto;
    Scope(scope).parent = parent;
    Scope(scope).attribute = attribute;
    Scope(scope).first = int(graph_.nodes_.size());
    if (parent < 0) Reserve(proto);
    for (const auto& tensor : proto.initializer()) {
      Value(Define(tensor.name(), scope)).constant = &tensor;
    }
    for (const auto& input : proto.input()) {
      const ValueId known = graph_.Find(input.name());
      if (known != kNoValue && Value(known).scope == scope && Value(known).constant != nullptr) {
        continue;
      }
      Define(input.name(), scope);
    }
    first_output_.push_back(ValueId(graph_.values_.size()));
    for (const auto& node : proto.node()) DefineOutputs(node, scope);
    for (const auto* infos : {&proto.input(), &proto.output(), &proto.value_info()}) {
      for (const auto& info : *infos) Declare(info, scope);
    }
    return scope;
  }

  /// Room for the main graph, when most nodes have one output.
  void Reserve(const onnx::GraphProto& proto) {
    const auto nodes = size_t(proto.node_size());
    const size_t values = nodes + size_t(proto.initializer_size() + proto.input_size());
    graph_.values_.reserve(values);
    graph_.by_name_.reserve(values);
    graph_.nodes_.reserve(nodes);
  }

  /// Of a scope that was opened last: the file's order where it is one.
  [[nodiscard]] std::vector<int> OrderOf(int scope) {
    const onnx::GraphProto& proto = *Scope(scope).proto;
    if (!IsSorted(proto, first_output_[size_t(scope)])) return SortedNodes(proto);
    std::vector<int> order(size_t(proto.node_size()));
    std::iota(order.begin(), order.end(), 0);
    return order;
  }

  /// Whether each node reads nothing that it or a later one makes. `next`: the first output's
  /// number; those of the others follow.
  [[nodiscard]] bool IsSorted(const onnx::GraphProto& proto, ValueId next) const {
    return std::ranges::all_of(proto.node(), [&](const onnx::NodeProto& node) {
      bool sorted = true;
      for (const auto& name : node.input()) {
        sorted = sorted && (name.empty() || graph_.Find(name) < next);
      }
      ForEachSubgraph(node, [&](const onnx::GraphProto& inner) {
        for (const std::string& name : FreeNames(inner)) {
          sorted = sorted && graph_.Find(name) < next;
        }
      });
      for (const auto& name : node.output()) next += name.empty() ? 0 : 1;
      return sorted;
    });
  }

  /// The first declaration counts.
  void Declare(const onnx::ValueInfoProto& info, int scope) {
    const ValueId id = graph_.Find(info.name());
    if (id == kNoValue || Value(id).scope != scope) return;
    if (Value(id).declared == nullptr) Value(id).declared = &info;
  }

  void DefineOutputs(const onnx::NodeProto& node, int scope) {
    for (const auto& name : node.output()) {
      if (!name.empty()) Define(name, scope);
    }
    const onnx::TensorProto* const constant = ConstantOf(node);
    if (constant != nullptr) Value(graph_.Find(node.output(0))).constant = constant;
  }

  ValueId Define(const std::string& name, int scope) {
    const auto id = ValueId(graph_.values_.size());
    if (!graph_.by_name_.emplace(name, id).second) {
      throw InputError("value '" + name + "' is defined more than once");
    }
    graph_.values_.emplace_back().name = name;
    graph_.values_.back().scope = scope;
    return id;
  }

  /// The value of that name, when the scope can see it.
  ValueId Visible(const std::string& name, int scope) {
    const ValueId id = graph_.Find(name);
    for (int at = id == kNoValue ? -1 : scope; at >= 0; at = Scope(at).parent) {
      if (Value(id).scope == at) return id;
    }
    return kNoValue;
  }

  ValueId Require(const std::string& name, int scope, const std::string& user) {
    const ValueId id = Visible(name, scope);
    if (id != kNoValue) return id;
    throw InputError("node '" + user + "' uses '" + name + "', which nothing produces");
  }

  void CloseScope(int scope) {
    for (const auto& output : Scope(scope).proto->output()) {
      const ValueId id = Visible(output.name(), scope);
      if (id == kNoValue) {
        throw InputError("graph output '" + output.name() + "' is never produced");
      }
      Scope(scope).outputs.push_back(id);
    }
  }

  void Place(const onnx::NodeProto& proto, int scope) {
    const Node node(proto, model_.Opset(proto.domain()));
    std::vector<ValueId> inputs;
    for (const auto& name : proto.input()) {
      inputs.push_back(name.empty() ? kNoValue : Require(name, scope, node.name()));
    }
    if (!IsControlFlow(proto)) {
      std::vector<ValueId> captures;
      ForEachSubgraph(
          proto, [&](const onnx::GraphProto& graph) { Capture(graph, scope, node, captures); });
      const int index = Append(node, scope, std::move(inputs), captures);
      for (const ValueId id : captures) Value(id).uses.push_back({index, -1});
    } else if (node.op_type() == "If") {
      PlaceIf(node, scope, std::move(inputs));
    } else {
      PlaceBody(node, scope, std::move(inputs));
    }
  }

  void Capture(const onnx::GraphProto& graph, int scope, const Node& node,
               std::vector<ValueId>& captures) {
    for (const auto& name : FreeNames(graph)) captures.push_back(Require(name, scope, node.name()));
  }

  int Append(const Node& node, int scope, std::vector<ValueId> inputs,
             std::vector<ValueId> captures) {
    const int index = int(graph_.nodes_.size());
    std::vector<ValueId> outputs;
    for (int i = 0; i < node.output_count(); ++i) {
      outputs.push_back(node.has_output(i) ? graph_.Find(node.output(i)) : kNoValue);
      if (outputs.back() != kNoValue) Value(outputs.back()).producer = index;
    }
    for (size_t j = 0; j < inputs.size(); ++j) {
      if (inputs[j] != kNoValue) Value(inputs[j]).uses.push_back({index, int(j)});
    }
    graph_.nodes_.push_back(node);
    graph_.inputs_.push_back(std::move(inputs));
    graph_.outputs_.push_back(std::move(outputs));
    graph_.captures_.push_back(std::move(captures));
    graph_.scope_of_node_.push_back(scope);
    graph_.body_in_.push_back(-1);
    return index;
  }

  /// The value of a condition that is stored in the model.
  std::optional<bool> Stored(ValueId condition) {
    const onnx::TensorProto* const stored = Value(condition).constant;
    if (stored == nullptr) return std::nullopt;
    const Tensor value = model_.weights().Read(*stored);
    if (value.dtype() != DType::kBool || value.size() != 1) return std::nullopt;
    return value.data<bool>()[0];
  }

  void PlaceIf(const Node& node, int scope, std::vector<ValueId> inputs) {
    if (inputs.size() != 1 || inputs[0] == kNoValue) {
      throw InputError("node '" + node.name() + "': an If has one input, the condition");
    }
    const std::optional<bool> stored = Stored(inputs[0]);
    std::vector<ValueId> captures;
    std::vector<int> branches;
    std::vector<std::vector<int>> orders;
    for (const bool polarity : {true, false}) {
      const char* const name = polarity ? "then_branch" : "else_branch";
      const onnx::GraphProto& body = SubgraphOf(node, name);
      if (body.output_size() != node.output_count()) {
        throw InputError("node '" + node.name() + "': its " + name + " gives " +
                         std::to_string(body.output_size()) + " outputs instead of " +
                         std::to_string(node.output_count()));
      }
      if (stored.value_or(polarity) != polarity) {
        Capture(body, scope, node, captures);
        continue;
      }
      branches.push_back(OpenScope(body, scope, name));
      Scope(branches.back()).condition = inputs[0];
      Scope(branches.back()).polarity = polarity;
      orders.push_back(OrderOf(branches.back()));
    }
    PlaceInTurns(branches, orders);
    for (const int branch : branches) CloseScope(branch);
    for (const bool polarity : {true, false}) {
      const auto branch =
          std::ranges::find(branches, polarity, [&](int b) { return Scope(b).polarity; });
      for (int i = 0; i < node.output_count(); ++i) {
        inputs.push_back(branch == branches.end() ? kNoValue : Scope(*branch).outputs[size_t(i)]);
      }
    }
    const int index = Append(node, scope, std::move(inputs), captures);
    for (const ValueId id : captures) Value(id).uses.push_back({index, -1});
    for (const int branch : branches) Scope(branch).owner = index;
  }

  /// Where the nodes of two branches read one stored matrix, they stand together: so a weight that
  /// both use is read, observed and quantized in one place.
  void PlaceInTurns(const std::vector<int>& branches, const std::vector<std::vector<int>>& orders) {
    if (branches.size() == 1) return PlaceRange(branches[0], orders[0], 0, orders[0].size());
    std::unordered_map<std::string, size_t> reader;  // in the second branch
    for (size_t i = 0; i < orders[1].size(); ++i) {
      for (const auto& name : MatricesRead(branches[1], orders[1][i])) reader.emplace(name, i);
    }
    size_t done = 0, others_done = 0;
    for (size_t i = 0; i < orders[0].size(); ++i) {
      for (const auto& name : MatricesRead(branches[0], orders[0][i])) {
        const auto found = reader.find(name);
        if (found == reader.end() || found->second < others_done) continue;
        PlaceRange(branches[0], orders[0], done, i + 1);
        done = i + 1;
        PlaceRange(branches[1], orders[1], others_done, found->second + 1);
        others_done = found->second + 1;
        break;
      }
    }
    PlaceRange(branches[0], orders[0], done, orders[0].size());
    PlaceRange(branches[1], orders[1], others_done, orders[1].size());
  }

  void PlaceRange(int scope, const std::vector<int>& order, size_t begin, size_t end) {
    const onnx::GraphProto& proto = *Scope(scope).proto;
    for (size_t i = begin; i < end; ++i) Place(proto.node(order[i]), scope);
  }

  std::vector<std::string> MatricesRead(int scope, int node) {
    std::vector<std::string> names;
    for (const auto& name : Scope(scope).proto->node(node).input()) {
      const ValueId id = graph_.Find(name);
      if (id == kNoValue || Value(id).constant == nullptr) continue;
      if (Value(id).constant->dims_size() >= 2) names.push_back(name);
    }
    return names;
  }

  void PlaceBody(const Node& node, int scope, std::vector<ValueId> inputs) {
    const onnx::GraphProto& body = SubgraphOf(node, "body");
    const int inner = OpenScope(body, scope, "body");
    for (const auto& input : body.input()) Scope(inner).inputs.push_back(graph_.Find(input.name()));
    for (const int i : OrderOf(inner)) Place(body.node(i), inner);
    CloseScope(inner);
    std::vector<ValueId> captures;
    Capture(body, scope, node, captures);
    const int index = Append(node, scope, std::move(inputs), std::move(captures));
    for (const ValueId id : Scope(inner).outputs) Value(id).uses.push_back({index, -1});
    Scope(inner).owner = index;
    graph_.body_in_.back() = inner;
  }

  const Model& model_;
  Graph& graph_;
  std::vector<ValueId> first_output_;  ///< of the nodes of each scope
};

void FlattenGraph(const Model& model, Graph& graph) { GraphFlattener(model, graph).Run(); }

}  // namespace ptq
