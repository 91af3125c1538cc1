// Collects the codes of a node's experts, and has them written together.
#include "held_experts.h"

#include "ptq/emit/linear_form.h"

namespace ptq {

std::optional<HeldExperts::Replacement> HeldExperts::Take(const Graph& graph, const Linear& linear,
                                                          const QuantizedMatrix& q,
                                                          TensorSink& sink) {
  auto& held = held_[linear.place.form];
  held[{linear.place.down, linear.place.expert}] = q;
  const int64_t experts = graph.value(linear.stored).constant->dims(0);
  if (int64_t(held.size()) < 2 * experts) return std::nullopt;
  const onnx::NodeProto& node = graph.model().spelled_out()[size_t(linear.place.form)].original;
  ExpertsToEmit all{&node, linear.operand_type, {}, {}};
  for (const auto& [place, one] : held) (place.first ? all.down : all.up).push_back(&one);
  auto nodes = WriterOf(*linear.decision.form).EmitExperts(all, sink);
  held_.erase(linear.place.form);
  return Replacement{graph.value(graph.Find(node.output(0))).producer, std::move(nodes)};
}

}  // namespace ptq
