// Reads tables of angles, and knows how exporters write a rotation down.
#include "key_rotation.h"

#include <cmath>
#include <set>
#include <string>

namespace ptq {
namespace {

bool ProducedBy(const Graph& graph, ValueId id, const char* type) {
  const int producer = id == kNoValue ? -1 : graph.value(id).producer;
  return producer >= 0 && graph.nodes()[size_t(producer)].op_type() == type;
}

/// Concat(−x₂, x₁).
bool IsHalfTurn(const Graph& graph, ValueId id) {
  if (!ProducedBy(graph, id, "Concat")) return false;
  const auto& parts = graph.inputs(graph.value(id).producer);
  return parts.size() == 2 && ProducedBy(graph, parts[0], "Neg");
}

/// x · cos + Concat(−x₂, x₁) · sin, in any order.
bool IsRotatedSum(const Graph& graph, ValueId id) {
  if (!ProducedBy(graph, id, "Add")) return false;
  for (const ValueId summand : graph.inputs(graph.value(id).producer)) {
    if (!ProducedBy(graph, summand, "Mul")) continue;
    for (const ValueId factor : graph.inputs(graph.value(summand).producer)) {
      if (IsHalfTurn(graph, factor)) return true;
    }
  }
  return false;
}

}  // namespace

KeyRotation ReadKeyRotation(const Graph& graph, int node, size_t first, bool interleaved) {
  const auto& inputs = graph.inputs(node);
  const auto table = [&](size_t input) -> const StoredTensor* {
    if (input >= inputs.size() || inputs[input] == kNoValue) return nullptr;
    const StoredTensor* const stored = graph.value(inputs[input]).constant;
    return stored != nullptr && stored->dims_size() == 2 ? stored : nullptr;
  };
  const StoredTensor* const cosines = table(first);
  const StoredTensor* const sines = table(first + 1);
  if (cosines == nullptr || sines == nullptr || cosines->dims(0) != sines->dims(0) ||
      cosines->dims(1) != sines->dims(1)) {
    return {kAllChannels, interleaved};
  }
  const Tensor c = graph.model().weights().Read(*cosines).Widened();
  const Tensor s = graph.model().weights().Read(*sines).Widened();
  const int64_t pairs = c.dim(1);
  KeyRotation rotation{2 * pairs, interleaved};
  constexpr int64_t kPositions = 4;
  for (int64_t i = 0; i < kPositions; ++i) {
    const int64_t row = i * c.dim(0) / kPositions;
    auto& angles = rotation.turns.emplace_back();
    for (int64_t at = row * pairs; at < (row + 1) * pairs; ++at) {
      angles.push_back(std::atan2(s.data<float>()[size_t(at)], c.data<float>()[size_t(at)]));
    }
  }
  return rotation;
}

KeyRotation RotationBehind(const Graph& graph, ValueId keys) {
  const int producer = keys == kNoValue ? -1 : graph.value(keys).producer;
  if (producer < 0) return {};
  const Node& node = graph.nodes()[size_t(producer)];
  if (node.op_type() == "RotaryEmbedding") {
    return ReadKeyRotation(graph, producer, node.domain().empty() ? 1 : 2,
                           node.Int("interleaved", 0) != 0);
  }
  if (node.op_type() == "Cast" || node.op_type() == "Identity") {
    return RotationBehind(graph, graph.inputs(producer)[0]);
  }
  return IsRotatedSum(graph, keys) ? KeyRotation{kAllChannels, false} : KeyRotation{};
}

bool TurnsSomehow(const Graph& graph, ValueId keys) {
  std::vector<ValueId> next = {keys};
  std::set<ValueId> known;
  while (!next.empty()) {
    const ValueId id = next.back();
    next.pop_back();
    if (id == kNoValue || !known.insert(id).second || graph.value(id).producer < 0) continue;
    const int producer = graph.value(id).producer;
    const std::string& type = graph.nodes()[size_t(producer)].op_type();
    if (type == "Sin" || type == "Cos") return true;
    if (type == "MatMul" || type == "Gemm" || type == "Shape") continue;
    next.insert(next.end(), graph.inputs(producer).begin(), graph.inputs(producer).end());
  }
  return false;
}

}  // namespace ptq
