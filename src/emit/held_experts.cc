// Collects the codes of a node's experts, and has them written together.
#include "held_experts.h"

#include <algorithm>

#include "ptq/emit/linear_form.h"
#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

/// The rows of a part as they are.
ExpertStack StackOf(const HeldExperts::Codes& codes, ExpertPart part, int64_t experts) {
  const QuantizedMatrix& first = codes.at({part, 0});
  const auto row = [&codes, part](int64_t expert, int64_t r) {
    return ExpertRow{&codes.at({part, expert}), r};
  };
  return {experts, first.n, first.k, first.spec, row};
}

/// The same of a part that is one matrix for all experts, from a row of each on.
ExpertStack PartOfStack(const HeldExperts::Codes& codes, ExpertPart part, int64_t experts,
                        int64_t n, int64_t begin) {
  const QuantizedMatrix& all = codes.at({part, 0});
  const int64_t rows = all.n / experts;
  const auto row = [&all, rows, begin](int64_t expert, int64_t r) {
    return ExpertRow{&all, expert * rows + begin + r};
  };
  return {experts, n, all.k, all.spec, row};
}

/// A row of the gate, the one that it is multiplied with, the next of the gate ...
ExpertStack InTurn(const ExpertStack& gate, const ExpertStack& value) {
  const auto row = [gate, value](int64_t expert, int64_t r) {
    return (r % 2 == 0 ? gate : value).row(expert, r / 2);
  };
  return {gate.experts, 2 * gate.n, gate.k, gate.spec, row};
}

std::pair<ExpertStack, ExpertStack> StacksOf(const HeldExperts::Codes& codes,
                                             const Mixture& mixture) {
  const int64_t experts = mixture.experts;
  if (!mixture.gathered) {
    return {InTurn(StackOf(codes, ExpertPart::kGate, experts),
                   StackOf(codes, ExpertPart::kValue, experts)),
            StackOf(codes, ExpertPart::kDown, experts)};
  }
  const QuantizedMatrix& last = codes.at({ExpertPart::kDown, 0});
  const ExpertStack down = PartOfStack(codes, ExpertPart::kDown, experts, last.n / experts, 0);
  const int64_t n = last.k;
  const bool both = codes.contains({ExpertPart::kBoth, 0});
  const ExpertPart gate = both ? ExpertPart::kBoth : ExpertPart::kGate;
  const ExpertPart value = both ? ExpertPart::kBoth : ExpertPart::kValue;
  return {InTurn(PartOfStack(codes, gate, experts, n, 0),
                 PartOfStack(codes, value, experts, n, both ? n : 0)),
          down};
}

/// The MoE that computes what a mixture does. Its stacks exist by their names only.
onnx::NodeProto NodeFor(const Graph& graph, const Mixture& mixture) {
  const auto name = [&](ValueId id) { return graph.value(id).name; };
  auto node = MakeNode("MoE", mixture.name,
                       {name(mixture.rows), name(mixture.logits), mixture.name + ".gate_up", "",
                        mixture.name + ".down"},
                       name(mixture.output));
  SetInt(node, "k", mixture.chosen);
  SetString(node, "activation_type", "swiglu");
  SetInt(node, "swiglu_fusion", 1);
  SetFloat(node, "activation_alpha", 1.0F);
  SetFloat(node, "activation_beta", 0.0F);
  SetInt(node, "normalize_routing_weights", mixture.normalizes ? 1 : 0);
  return node;
}

}  // namespace

std::optional<HeldExperts::Replacement> HeldExperts::Take(const Graph& graph, const Plan& plan,
                                                          const Linear& linear,
                                                          const QuantizedMatrix& q,
                                                          TensorSink& sink) {
  const ExpertPlace& place = linear.place;
  const Owner owner{place.form, place.mixture};
  Codes& codes = held_[owner];
  codes[{place.part, place.expert}] = q;
  const auto all = std::ranges::count_if(plan.linears, [&](const Linear& one) {
    return Owner{one.place.form, one.place.mixture} == owner;
  });
  if (int64_t(codes.size()) < all) return std::nullopt;
  onnx::NodeProto node;
  std::pair<ExpertStack, ExpertStack> stacks;
  if (place.form >= 0) {
    node = graph.model().spelled_out()[size_t(place.form)].original;
    stacks = {StackOf(codes, ExpertPart::kUp, all / 2), StackOf(codes, ExpertPart::kDown, all / 2)};
  } else {
    const Mixture& mixture = plan.mixtures[size_t(place.mixture)];
    node = NodeFor(graph, mixture);
    stacks = StacksOf(codes, mixture);
  }
  const ExpertsToEmit experts{&node, linear.operand_type, stacks.first, stacks.second};
  auto nodes = WriterOf(*linear.decision.form).EmitExperts(experts, sink);
  held_.erase(owner);
  return Replacement{graph.value(graph.Find(node.output(0))).producer, std::move(nodes)};
}

}  // namespace ptq
