// Rewrites the nodes of a graph and of those within it, or names the one that cannot be moved.
#include "opset_upgrade.h"

#include <set>
#include <utility>
#include <vector>

#include "format_nodes.h"
#include "opset_rules.h"

#include "ptq/base/error.h"
#include "ptq/model/graph_names.h"

namespace ptq {
namespace {

class Upgrader {
 public:
  Upgrader(onnx::ModelProto& model, const std::string& reason)
      : from_(OpsetOf(model, "")), reason_(reason), names_(NamesIn(model.graph())) {}

  void Upgrade(onnx::GraphProto& graph, TensorRanks* outer = nullptr) {
    TensorRanks ranks(graph, from_, outer);
    RewriteContext context;
    context.ranks = &ranks;
    context.unique_name = [this](const std::string& wanted) { return UniqueName(wanted); };
    std::vector<onnx::TensorProto> constants;
    context.add_int64s = [&](const std::string& wanted, const std::vector<int64_t>& values) {
      onnx::TensorProto& tensor = constants.emplace_back();
      tensor.set_name(UniqueName(wanted));
      tensor.set_data_type(onnx::TensorProto::INT64);
      tensor.add_dims(static_cast<int64_t>(values.size()));
      for (const int64_t value : values) tensor.add_int64_data(value);
      return tensor.name();
    };
    std::vector<onnx::NodeProto> rewritten;
    // Copies: TensorRanks still looks at the original nodes.
    for (const auto& original : graph.node()) {
      onnx::NodeProto node = original;
      for (auto& attribute : *node.mutable_attribute()) {
        if (attribute.has_g()) Upgrade(*attribute.mutable_g(), &ranks);
      }
      context.before.clear();
      context.behind.clear();
      UpgradeNode(node, context);
      for (auto& added : context.before) rewritten.push_back(std::move(added));
      rewritten.push_back(std::move(node));
      for (auto& added : context.behind) rewritten.push_back(std::move(added));
    }
    graph.clear_node();
    for (auto& node : rewritten) *graph.add_node() = std::move(node);
    for (auto& tensor : constants) *graph.add_initializer() = std::move(tensor);
  }

 private:
  void UpgradeNode(onnx::NodeProto& node, RewriteContext& context) {
    if (!node.domain().empty()) return;
    const int64_t since = StableSince(node.op_type());
    if (since >= 0 && from_ >= since) return;
    if (since >= 0 && RewriteNode(node, from_, context)) return;
    const std::string name = node.name().empty() ? node.output(0) : node.name();
    throw UnsupportedError(reason_ + " needs opset " + std::to_string(kUpgradedOpset) +
                           ", and the node '" + name + "' (" + node.op_type() +
                           ") cannot be moved there from opset " + std::to_string(from_) +
                           " safely; use --format matmulnbits or export the model with opset " +
                           std::to_string(kUpgradedOpset));
  }

  std::string UniqueName(const std::string& wanted) {
    std::string name = wanted;
    for (int i = 2; !names_.insert(name).second; ++i) name = wanted + "_" + std::to_string(i);
    return name;
  }

  int64_t from_;
  std::string reason_;
  std::set<std::string> names_;
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

}  // namespace ptq
