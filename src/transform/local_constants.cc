// Copies initializers of the main graph into the subgraphs whose DequantizeLinear read them.
#include "ptq/transform/local_constants.h"

#include <string>
#include <unordered_map>
#include <utility>

#include "ptq/model/graph_walk.h"

namespace ptq {
namespace {

class Localizer {
 public:
  explicit Localizer(TensorStore& store) : store_(store) {
    for (const auto& tensor : store.initializers()) tensors_[tensor.name()] = &tensor;
  }

  void VisitSubgraphs(onnx::GraphProto& graph) {
    for (auto& node : *graph.mutable_node()) {
      ForEachSubgraph(node, [&](onnx::GraphProto& inner) { Visit(inner); });
    }
  }

 private:
  void Visit(onnx::GraphProto& graph) {
    std::unordered_map<std::string, std::string> own;
    for (auto& node : *graph.mutable_node()) {
      if (node.op_type() != "DequantizeLinear" || !node.domain().empty()) continue;
      for (auto& name : *node.mutable_input()) {
        const auto tensor = tensors_.find(name);
        if (tensor == tensors_.end()) continue;
        const auto [entry, added] = own.try_emplace(name);
        if (added) {
          entry->second = store_.UniqueName(name);
          auto& copy = *graph.add_initializer();
          copy = *tensor->second;
          copy.set_name(entry->second);
        }
        name = entry->second;
      }
    }
    VisitSubgraphs(graph);
  }

  TensorStore& store_;
  std::unordered_map<std::string, const onnx::TensorProto*> tensors_;
};

}  // namespace

std::string LocalConstants::Plan() const {
  const size_t subgraphs = graph_.source.scopes().size() - 1;
  if (subgraphs == 0) return "";
  return std::to_string(subgraphs) +
         " subgraphs get copies of the constants that DequantizeLinear nodes in them read";
}

void LocalConstants::Apply() {
  if (graph_.source.scopes().size() == 1) return;
  Localizer(graph_.store).VisitSubgraphs(*graph_.model.mutable_graph());
}

}  // namespace ptq
