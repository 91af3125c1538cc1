// Rewrites the nodes of a graph and of those within it, or names the one that cannot be moved.
#include "ptq/transform/opset_upgrade.h"

#include <utility>
#include <vector>

#include "opset_rules.h"

#include "ptq/base/error.h"
#include "ptq/model/graph_walk.h"
#include "ptq/model/node_builder.h"
#include "ptq/model/unique_names.h"

namespace ptq {
namespace {

class Upgrader {
 public:
  Upgrader(onnx::ModelProto& model, const std::string& reason)
      : from_(OpsetOf(model, "")), reason_(reason), names_(model.graph()) {}

  void Upgrade(onnx::GraphProto& graph, TensorRanks* outer = nullptr) {
    TensorRanks ranks(graph, from_, outer);
    RewriteContext context{names_, ranks, {}, {}, {}};
    std::vector<onnx::NodeProto> rewritten;
    // Copies: TensorRanks still looks at the original nodes.
    for (const auto& original : graph.node()) {
      onnx::NodeProto node = original;
      ForEachSubgraph(node, [&](onnx::GraphProto& inner) { Upgrade(inner, &ranks); });
      context.before.clear();
      context.behind.clear();
      UpgradeNode(node, context);
      for (auto& added : context.before) rewritten.push_back(std::move(added));
      rewritten.push_back(std::move(node));
      for (auto& added : context.behind) rewritten.push_back(std::move(added));
    }
    graph.clear_node();
    for (auto& node : rewritten) *graph.add_node() = std::move(node);
    for (auto& tensor : context.constants) *graph.add_initializer() = std::move(tensor);
  }

 private:
  void UpgradeNode(onnx::NodeProto& node, RewriteContext& context) {
    if (!node.domain().empty()) return;
    const int64_t since = StableSince(node.op_type());
    if (since >= 0 && from_ >= since) return;
    if (since >= 0 && RewriteNode(node, from_, context)) return;
    const bool unnamed = node.name().empty() && node.output_size() > 0;
    const std::string name = unnamed ? node.output(0) : node.name();
    throw UnsupportedError(reason_ + " needs opset " + std::to_string(kUpgradedOpset) +
                           ", and the node '" + name + "' (" + node.op_type() +
                           ") cannot be moved there from opset " + std::to_string(from_) +
                           " safely; use --format matmulnbits or export the model with opset " +
                           std::to_string(kUpgradedOpset));
  }

  int64_t from_;
  std::string reason_;
  UniqueNames names_;
};

}  // namespace

void UpgradeOpset(onnx::ModelProto& model, const std::string& reason) {
  const int64_t from = OpsetOf(model, "");
  if (from >= kUpgradedOpset) return;
  if (from < kOldestUpgradable) {
    throw UnsupportedError(reason + " needs opset " + std::to_string(kUpgradedOpset) +
                           "; this model has opset " + std::to_string(from) +
                           ", which is too old to be moved there; use --format matmulnbits or "
                           "export the model with a newer opset");
  }
  // On a copy of the nodes only: a refusal must leave the model untouched.
  Upgrader(model, reason).Upgrade(*model.mutable_graph());
  RaiseOpset(model, "", kUpgradedOpset);
}

std::string OpsetUpgrade::Plan() const {
  const int64_t from = OpsetOf(graph_.model, "");
  if (from >= needed_) return "";
  onnx::ModelProto copy = graph_.model;
  UpgradeOpset(copy, reason_);  // throws as Apply would
  int64_t changed = 0;
  ForEachNode(graph_.model.graph().node(), [&](const onnx::NodeProto& node) {
    changed += int64_t(node.domain().empty() && from < StableSince(node.op_type()));
  });
  return reason_ + " needs opset " + std::to_string(kUpgradedOpset) + ", the model has " +
         std::to_string(from) + "; " + std::to_string(changed) + " nodes are rewritten";
}

void OpsetUpgrade::Apply() {
  if (OpsetOf(graph_.model, "") < needed_) UpgradeOpset(graph_.model, reason_);
}

}  // namespace ptq
