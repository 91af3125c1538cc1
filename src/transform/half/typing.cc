// Derives the types of values from those of nodes.
#include "typing.h"

#include <algorithm>

namespace ptq {

Typing::Typing(const FlatGraph& graph, bool half_io)
    : graph_(graph), half_io_(half_io), reasons_(graph.nodes().size(), kNoIsland) {
  for (int i = 0; i < std::ssize(graph.nodes()); ++i) {
    if (!IsFixed(i)) continue;
    const bool known = graph.node(i).known;
    reasons_[size_t(i)] = int(known ? IslandReason::kImpossible : IslandReason::kUnknown);
  }
}

bool Typing::IsFixed(int node) const {
  const FlatNode& flat = graph_.node(node);
  const auto wide = [&](const std::vector<Slot>& slots, const std::vector<int>& values) {
    for (size_t i = 0; i < slots.size(); ++i) {
      if (slots[i] != Slot::kFixed || values[i] < 0) continue;
      if (graph_.value(values[i]).type != DType::kFloat16) return true;
    }
    return false;
  };
  return !HasChoice(node) &&
         (wide(flat.input_slots, flat.inputs) || wide(flat.output_slots, flat.outputs));
}

bool Typing::HasChoice(int node) const {
  const FlatNode& flat = graph_.node(node);
  return std::ranges::find(flat.input_slots, Slot::kFollows) != flat.input_slots.end() ||
         std::ranges::find(flat.output_slots, Slot::kFollows) != flat.output_slots.end();
}

bool Typing::KeepFloat(int node, IslandReason reason) {
  if (IsFloat(node) || !HasChoice(node)) return false;
  reasons_[size_t(node)] = int(reason);
  return true;
}

DType Typing::Produced(int value) const {
  const FlatValue& flat = graph_.value(value);
  if (!IsHalvable(flat.type)) return flat.type;
  if (flat.producer < 0) return flat.graph_input && half_io_ ? DType::kFloat16 : flat.type;
  const FlatNode& node = graph_.node(flat.producer);
  if (node.output_slots[size_t(flat.output)] != Slot::kFollows) return flat.type;
  return IsFloat(flat.producer) ? DType::kFloat32 : DType::kFloat16;
}

DType Typing::Wanted(const FlatReader& reader) const {
  if (!IsHalvable(reader.type)) return DType::kUndefined;
  if (reader.node < 0) return half_io_ ? DType::kFloat16 : reader.type;
  if (reader.input < 0) return reader.type;
  switch (graph_.node(reader.node).input_slots[size_t(reader.input)]) {
    case Slot::kOther:
    case Slot::kAny: return DType::kUndefined;
    case Slot::kFixed: return reader.type;
    case Slot::kFollows: break;
  }
  return IsFloat(reader.node) ? DType::kFloat32 : DType::kFloat16;
}

int Typing::Casts(int value) const {
  const FlatValue& flat = graph_.value(value);
  if (!IsHalvable(flat.type) || flat.constant != nullptr) return 0;
  const DType produced = Produced(value);
  bool single = false, half = false, other = false;
  for (const FlatReader& reader : flat.readers) {
    const DType wanted = Wanted(reader);
    if (wanted == DType::kUndefined || wanted == produced) continue;
    single = single || wanted == DType::kFloat32;
    half = half || wanted == DType::kFloat16;
    other = other || wanted == DType::kBFloat16;
  }
  return int(single) + int(half) + int(other);
}

}  // namespace ptq
