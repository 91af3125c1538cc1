// Follows vectors of integers back to constants.
#include "known_entries.h"

#include <string>

namespace ptq {
namespace {

using Entries = std::vector<std::optional<int64_t>>;

/// Nodes that are followed back; real graphs have four in a row.
constexpr int kDeepestEntries = 12;

std::optional<Entries> EntriesOfConstant(const Graph& graph, const StoredTensor& stored) {
  constexpr size_t kLargest = 1024;  // bytes: a shape is small
  if (stored.ByteSizeLong() > kLargest) return std::nullopt;
  const Tensor values = graph.model().weights().Read(stored);
  if (values.dtype() != DType::kInt64) return std::nullopt;
  return Entries(values.data<int64_t>().begin(), values.data<int64_t>().end());
}

std::optional<Entries> EntriesOf(const Graph& graph, ValueId id, int depth) {
  if (id == kNoValue || depth > kDeepestEntries) return std::nullopt;
  const Value& value = graph.value(id);
  if (value.constant != nullptr) return EntriesOfConstant(graph, *value.constant);
  if (value.producer < 0) return std::nullopt;
  const std::string& type = graph.nodes()[size_t(value.producer)].op_type();
  const auto& inputs = graph.inputs(value.producer);
  if (type == "Cast" || type == "Reshape" || type == "Identity") {
    return EntriesOf(graph, inputs[0], depth + 1);
  }
  if (type == "Where") return EntriesOf(graph, inputs[2], depth + 1);
  if (type != "Concat") return std::nullopt;
  Entries all;
  for (const ValueId input : inputs) {
    const auto part = EntriesOf(graph, input, depth + 1);
    if (part.has_value()) {
      all.insert(all.end(), part->begin(), part->end());
      continue;
    }
    // An Unsqueeze of a number is one element, whatever the number.
    const int producer = graph.value(input).producer;
    const bool single = producer >= 0 && graph.nodes()[size_t(producer)].op_type() == "Unsqueeze";
    const auto declared = graph.DeclaredType(input).shape;
    if (!single && declared != Shape{1}) return std::nullopt;
    all.emplace_back();
  }
  return all;
}

}  // namespace

std::optional<std::vector<std::optional<int64_t>>> KnownEntries(const Graph& graph, ValueId id) {
  return EntriesOf(graph, id, 0);
}

}  // namespace ptq
