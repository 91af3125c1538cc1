// Renames what hides or repeats an outer name, and hoists the initializers of bodies and branches.
#include "scopes.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>

#include "ptq/model/graph_walk.h"
#include "ptq/model/unique_names.h"

namespace ptq {
namespace {

/// What a scope sees under another name than the file says.
using Renamed = std::map<std::string, std::string>;

/// Calls visit(name) with everything that a graph itself defines.
template <class Graph, class Visitor>
void ForEachDefined(Graph& graph, const Visitor& visit) {
  for (const auto& value : graph.input()) visit(value.name());
  for (const auto& tensor : graph.initializer()) visit(tensor.name());
  for (const auto& node : graph.node()) {
    for (const auto& name : node.output()) visit(name);
  }
}

class Unifier {
 public:
  explicit Unifier(onnx::GraphProto& main) : main_(main) {
    ForEachDefined(main, [&](const std::string& name) { used_.Reserve(name); });
    ReserveOpaque(main, false);
  }

  void Run() { VisitNodes(main_, {}); }

 private:
  /// Names inside the subgraphs of other operators are taken, too.
  void ReserveOpaque(const onnx::GraphProto& graph, bool opaque) {
    if (opaque) ForEachDefined(graph, [&](const std::string& name) { used_.Reserve(name); });
    for (const auto& node : graph.node()) {
      ForEachSubgraph(node, [&](const onnx::GraphProto& inner) {
        ReserveOpaque(inner, opaque || !IsControlFlow(node));
      });
    }
  }

  void VisitNodes(onnx::GraphProto& graph, const Renamed& renamed) {
    for (auto& node : *graph.mutable_node()) {
      ForEachSubgraph(node, [&](onnx::GraphProto& inner) {
        if (IsControlFlow(node)) {
          VisitBody(inner, renamed);
        } else {
          RenameReads(inner, renamed);
        }
      });
    }
  }

  void VisitBody(onnx::GraphProto& body, Renamed renamed) {
    std::set<std::string> own;
    ForEachDefined(body, [&](const std::string& name) {
      // What one graph defines twice stays so, for whoever reads the model to refuse.
      if (name.empty() || !own.insert(name).second) return;
      if (used_.Reserve(name)) {
        renamed.erase(name);
      } else {
        renamed[name] = used_.Take(name);
      }
    });
    Rename(body, renamed);
    Hoist(body);
    VisitNodes(body, renamed);
  }

  static void Apply(const Renamed& renamed, std::string& name) {
    if (const auto found = renamed.find(name); found != renamed.end()) name = found->second;
  }

  static void Rename(onnx::GraphProto& graph, const Renamed& renamed) {
    if (renamed.empty()) return;
    ForEachDeclaration(graph, [&](auto& info) { Apply(renamed, *info.mutable_name()); });
    for (auto& tensor : *graph.mutable_initializer()) Apply(renamed, *tensor.mutable_name());
    for (auto& note : *graph.mutable_quantization_annotation()) {
      Apply(renamed, *note.mutable_tensor_name());
    }
    for (auto& node : *graph.mutable_node()) {
      for (auto& name : *node.mutable_input()) Apply(renamed, name);
      for (auto& name : *node.mutable_output()) Apply(renamed, name);
    }
  }

  /// A subgraph that keeps its own names may still read renamed ones.
  static void RenameReads(onnx::GraphProto& graph, Renamed renamed) {
    ForEachDefined(graph, [&](const std::string& name) { renamed.erase(name); });
    if (renamed.empty()) return;
    Rename(graph, renamed);
    for (auto& node : *graph.mutable_node()) {
      ForEachSubgraph(node, [&](onnx::GraphProto& inner) { RenameReads(inner, renamed); });
    }
  }

  void Hoist(onnx::GraphProto& body) {
    std::unordered_set<std::string> bound;
    for (const auto& value : body.input()) bound.insert(value.name());
    for (const auto& value : body.output()) bound.insert(value.name());
    google::protobuf::RepeatedPtrField<onnx::TensorProto> kept;
    for (auto& tensor : *body.mutable_initializer()) {
      const bool stays = bound.contains(tensor.name());
      *(stays ? kept.Add() : main_.add_initializer()) = std::move(tensor);
    }
    body.mutable_initializer()->Swap(&kept);
  }

  onnx::GraphProto& main_;
  UniqueNames used_;
};

}  // namespace

bool IsControlFlow(const onnx::NodeProto& node) {
  if (!node.domain().empty()) return false;
  const std::string& type = node.op_type();
  return type == "If" || type == "Loop" || type == "Scan" || type == "SequenceMap";
}

void UnifyScopes(onnx::ModelProto& model) {
  const bool nested = std::ranges::any_of(model.graph().node(), [](const onnx::NodeProto& node) {
    bool found = false;
    ForEachSubgraph(node, [&](const onnx::GraphProto&) { found = true; });
    return found;
  });
  if (nested) Unifier(*model.mutable_graph()).Run();
}

}  // namespace ptq
