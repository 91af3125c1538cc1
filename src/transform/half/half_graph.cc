// Draws up what a conversion to FP16 does to a graph, and does it.
#include "ptq/transform/half_graph.h"

#include <memory>

#include "constant_facts.h"
#include "constant_plan.h"
#include "flat_graph.h"
#include "half_rewrite.h"
#include "islands.h"
#include "typing.h"

#include "ptq/model/node_builder.h"
#include "ptq/model/value_types.h"

namespace ptq {
namespace {

using Tensors = std::vector<const onnx::TensorProto*>;

/// What people and the graph say of a value's node; names of spelled-out nodes count for the node
/// that they stand for, too.
HalfLimits LimitsOf(const Graph& source, const Plan& plan) {
  HalfLimits limits;
  for (const ValueId id : plan.half->large) limits.large.insert(source.value(id).name);
  for (const Linear& linear : plan.linears) {
    if (linear.decision.keeps() && linear.decision.asked) {
      limits.kept.insert(source.nodes()[size_t(linear.node)].output(0));
    }
  }
  for (const Table& table : plan.tables) {
    if (!table.decision.keeps() || !table.decision.asked) continue;
    for (const int node : table.lookups) {
      limits.kept.insert(source.nodes()[size_t(node)].output(0));
    }
  }
  for (const SpelledOut& form : source.model().spelled_out()) {
    for (auto* names : {&limits.large, &limits.kept}) {
      for (const std::string& own : form.outputs) {
        if (!names->contains(own)) continue;
        names->insert(form.original.output().begin(), form.original.output().end());
      }
    }
  }
  return limits;
}

/// A graph, and the type that each of its nodes is to compute in.
class HalfAnalysis {
 public:
  HalfAnalysis(OutputGraph& output, const Plan& plan)
      : graph_(output.model, SourceTensors(output), StoreTensors(output)),
        typing_(graph_, plan.half->io),
        constants_(output.source.model().weights()),
        masks_(FindIslands(typing_, constants_, LimitsOf(output.source, plan))) {}

  [[nodiscard]] const Typing& typing() const { return typing_; }

  [[nodiscard]] HalfDecisions Decisions() {
    HalfDecisions decisions;
    for (int i = 0; i < std::ssize(graph_.nodes()); ++i) {
      const FlatNode& node = graph_.node(i);
      if (!typing_.IsFloat(i) || node.is_join()) continue;
      decisions.islands.push_back({NameOf(node), node.proto->output(0), typing_.reason(i)});
    }
    for (int id = 0; id < std::ssize(graph_.values()); ++id) {
      const FlatValue& value = graph_.value(id);
      if (value.constant != nullptr && IsHalvable(value.type)) {
        DescribeConstant(id, decisions);
      } else if (typing_.Produced(id) == DType::kFloat16) {
        decisions.halved.insert(value.name);
      }
    }
    return decisions;
  }

 private:
  static Tensors SourceTensors(const OutputGraph& output) {
    Tensors tensors;
    for (const auto& tensor : output.source.proto().initializer()) tensors.push_back(&tensor);
    return tensors;
  }

  static Tensors StoreTensors(OutputGraph& output) {
    Tensors tensors;
    for (const auto& tensor : output.store.initializers()) tensors.push_back(&tensor);
    return tensors;
  }

  static std::string NameOf(const FlatNode& node) {
    if (!node.proto->name().empty()) return node.proto->name();
    return node.type() + " of '" + node.proto->output(0) + "'";
  }

  void DescribeConstant(int id, HalfDecisions& decisions) {
    const FlatValue& value = graph_.value(id);
    const ConstantForm form = FormOfConstant(typing_, id);
    if (form != ConstantForm::kAsIs && constants_.Of(*value.constant).overflows()) {
      decisions.clamped.push_back(value.name);
    }
    std::string& why = decisions.constants[value.name];
    if (form == ConstantForm::kHalved) return;
    if (form == ConstantForm::kBoth) {
      why = "a part of its users computes in FP32";
      return;
    }
    if (value.type == DType::kFloat16) return;
    why = "its users compute in FP32";
    for (const FlatReader& reader : value.readers) {
      if (reader.node < 0 || !typing_.IsFloat(reader.node)) continue;
      why += " (" + std::string(IslandName(typing_.reason(reader.node))) + ")";
      return;
    }
  }

  FlatGraph graph_;
  Typing typing_;
  ConstantReader constants_;
  std::set<int> masks_;
};

/// What stands for rows of codes until they are there.
onnx::NodeProto RowsStandIn(const OutputGraph& draft, int node) {
  const Node& lookup = draft.source.nodes()[size_t(node)];
  onnx::NodeProto stand_in = MakeNode("GatherBlockQuantized", lookup.name(), {}, lookup.output(0));
  stand_in.set_domain("com.microsoft");
  stand_in.add_input("");
  stand_in.add_input(draft.editor->InputOf(node, 1));
  return stand_in;
}

/// What stands for a linear's codes until they are there.
onnx::NodeProto StandInFor(const OutputGraph& draft, const Linear& linear, int node) {
  if (linear.gather == node) return RowsStandIn(draft, node);
  const Node& product = draft.source.nodes()[size_t(node)];
  onnx::NodeProto stand_in = MakeNode("MatMulNBits", product.name(), {}, product.output(0));
  stand_in.set_domain("com.microsoft");
  stand_in.add_input(draft.editor->InputOf(node, 0));
  if (linear.bias != kNoValue && node == linear.node) {
    for (int i = 0; i < 4; ++i) stand_in.add_input("");
    stand_in.add_input(draft.editor->InputOf(node, 2));
  }
  return stand_in;
}

/// The graph as it will be when all nodes have been edited, but for what a form writes around a
/// product.
void Draft(OutputGraph& draft, const Plan& plan) {
  draft.TakeNodes();
  for (const Linear& linear : plan.linears) {
    if (!linear.decision.quantizes()) continue;
    std::vector<int> nodes = {linear.gather >= 0 ? linear.gather : linear.node};
    for (const ConstantProduct& product : linear.constant_products) nodes.push_back(product.node);
    for (const int node : nodes) draft.editor->Replace(node, {StandInFor(draft, linear, node)});
  }
  for (const Table& table : plan.tables) {
    if (!table.decision.quantizes()) continue;
    for (const int node : table.lookups) draft.editor->Replace(node, {RowsStandIn(draft, node)});
  }
  draft.editor->RestoreUntouched(draft.source.model().spelled_out());
  draft.editor->Commit();
}

}  // namespace

std::string_view IslandName(IslandReason reason) {
  switch (reason) {
    case IslandReason::kAsked: return "asked for";
    case IslandReason::kUnknown: return "unknown operator";
    case IslandReason::kImpossible: return "no FP16";
    case IslandReason::kLarge: return "large values";
    case IslandReason::kConstant: return "constant beyond FP16";
    case IslandReason::kNorm: return "norm";
    case IslandReason::kResidual: return "residual sum";
    case IslandReason::kSoftmax: return "softmax";
    case IslandReason::kAngles: return "angles";
    case IslandReason::kIndices: return "indices";
    case IslandReason::kScales: return "scales of codes";
    case IslandReason::kBetween: return "between islands";
  }
  return "";
}

HalfDecisions PlanHalfGraph(const Graph& source, const Plan& plan) {
  OutputGraph draft(source, {});
  Draft(draft, plan);
  return HalfAnalysis(draft, plan).Decisions();
}

std::vector<ValueId> HalfValues(const Graph& graph) {
  const ValueTypes types(graph.model().proto());
  std::vector<ValueId> values;
  for (size_t id = 0; id < graph.values().size(); ++id) {
    const Value& value = graph.values()[id];
    const bool half = value.constant == nullptr && types.Of(value.name) == DType::kFloat16;
    if (half) values.push_back(ValueId(id));
  }
  return values;
}

std::string HalfGraph::Plan() const {
  if (plan_ == nullptr || !plan_->half.has_value()) return "";
  const HalfDecisions decisions = PlanHalfGraph(graph_.source, *plan_);
  return "the graph computes in FP16, but for " + std::to_string(decisions.islands.size()) +
         " nodes";
}

void HalfGraph::Apply() {
  if (plan_ == nullptr || !plan_->half.has_value() || applied_) return;
  applied_ = true;
  const HalfAnalysis analysis(graph_, *plan_);
  RewriteInHalf(analysis.typing(), graph_);
}

}  // namespace ptq
