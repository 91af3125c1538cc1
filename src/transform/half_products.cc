// Finds FP16 products of codes that a runtime would turn to FP32, and puts Casts in front of them.
#include "ptq/transform/half_products.h"

#include <algorithm>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ptq/model/graph_walk.h"
#include "ptq/model/node_builder.h"
#include "ptq/tensor/block_rounding.h"

namespace ptq {
namespace {

constexpr int kScales = 2;

/// Producers that need no Cast behind them: they have a kernel for FP16 at each optimization level,
/// and fusions for other processors look for them right in front of the product.
bool ComputesInHalf(const std::string& type) {
  static const std::set<std::string> kTypes = {"Cast", "SimplifiedLayerNormalization",
                                               "SkipSimplifiedLayerNormalization",
                                               "RMSNormalization", "GroupQueryAttention"};
  return kTypes.contains(type);
}

bool IsRoundedProduct(const onnx::NodeProto& node) {
  if (node.op_type() != "MatMulNBits" || node.input_size() <= kScales) return false;
  const auto* const level = FindAttribute(node, "accuracy_level");
  return level != nullptr && level->i() == kRoundedLevel;
}

class ProductShield {
 public:
  ProductShield(std::unordered_set<std::string> halves,
                const std::function<std::string(const std::string&)>& unique)
      : halves_(std::move(halves)), unique_(unique) {}

  void Visit(onnx::GraphProto& graph) {
    for (const auto& tensor : graph.initializer()) {
      if (tensor.data_type() == onnx::TensorProto::FLOAT16) halves_.insert(tensor.name());
    }
    std::unordered_map<std::string, std::string> made;  // by a value: the type of its producer
    for (const auto& node : graph.node()) {
      for (const auto& output : node.output()) made[output] = node.op_type();
    }
    std::vector<onnx::NodeProto> nodes;
    std::unordered_map<std::string, std::string> shielded;
    for (auto& node : *graph.mutable_node()) {
      ForEachSubgraph(node, [&](onnx::GraphProto& inner) { Visit(inner); });
      if (IsRoundedProduct(node) && halves_.contains(node.input(kScales))) {
        const auto producer = made.find(node.input(0));
        if (producer != made.end() && !ComputesInHalf(producer->second)) {
          node.set_input(0, Behind(node.input(0), shielded, nodes));
        }
      }
      nodes.push_back(std::move(node));
    }
    graph.clear_node();
    for (auto& node : nodes) *graph.add_node() = std::move(node);
  }

  [[nodiscard]] int pairs() const { return pairs_; }

 private:
  /// The value behind two Casts, which are added where it is first asked for.
  const std::string& Behind(const std::string& value,
                            std::unordered_map<std::string, std::string>& shielded,
                            std::vector<onnx::NodeProto>& nodes) {
    std::string& behind = shielded[value];
    if (!behind.empty()) return behind;
    ++pairs_;
    const std::string wide = unique_(value + "_fp32");
    behind = unique_(value + "_fp16");
    nodes.push_back(MakeCast(unique_(value + "/fp32"), value, wide, DType::kFloat32));
    nodes.push_back(MakeCast(unique_(value + "/fp16"), wide, behind, DType::kFloat16));
    return behind;
  }

  std::unordered_set<std::string> halves_;
  const std::function<std::string(const std::string&)>& unique_;
  int pairs_ = 0;
};

}  // namespace

int ShieldHalfProducts(onnx::GraphProto& graph, std::unordered_set<std::string> halves,
                       const std::function<std::string(const std::string&)>& unique) {
  ProductShield shield(std::move(halves), unique);
  shield.Visit(graph);
  return shield.pairs();
}

std::string HalfProducts::Plan() const {
  if (plan_ == nullptr) return "";
  const auto rounded = std::ranges::count_if(plan_->linears, [&](const Linear& linear) {
    return linear.decision.quantizes() && linear.operand_type == DType::kFloat16 &&
           linear.decision.form->name() == "matmulnbits" &&
           linear.decision.parameters.FirstLevel() == kRoundedLevel;
  });
  if (rounded == 0) return "";
  return "Casts in front of those of " + std::to_string(rounded) +
         " FP16 products that a runtime would turn to FP32";
}

void HalfProducts::Apply() {
  std::unordered_set<std::string> halves;
  for (const auto& tensor : graph_.store.initializers()) {
    if (tensor.data_type() == onnx::TensorProto::FLOAT16) halves.insert(tensor.name());
  }
  if (halves.empty()) return;
  ShieldHalfProducts(*graph_.model.mutable_graph(), std::move(halves),
                     [&](const std::string& name) { return graph_.store.UniqueName(name); });
}

}  // namespace ptq
