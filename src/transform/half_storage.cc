// Converts constants chunk by chunk, and moves the casts behind what only moves elements.
#include "ptq/transform/half_storage.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <vector>

#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
#include "ptq/base/half.h"
#include "ptq/model/node_builder.h"

namespace ptq {
namespace {

constexpr size_t kChunk = 1 << 20;

/// Whether the node's output holds elements of its first input and nothing else.
bool OnlyMoves(const Node& node, int input) {
  static const std::set<std::string> kTypes = {"Gather",  "Transpose", "Identity", "Reshape",
                                               "Squeeze", "Unsqueeze", "Flatten"};
  return input == 0 && node.domain().empty() && kTypes.contains(node.op_type());
}

bool FitsHalf(std::span<const float> values) {
  // Written so that NaN fails.
  return std::ranges::all_of(values, [](float value) { return std::abs(value) <= kHalfMax; });
}

/// Calls body(chunk) for one chunk of a mapped tensor after the other, and lets it go.
template <class Body>
void ForEachChunk(const Tensor& values, const std::function<void()>& drop, const Body& body) {
  const auto from = values.data<float>();
  for (size_t begin = 0; begin < from.size(); begin += kChunk) {
    body(from.subspan(begin, std::min(kChunk, from.size() - begin)));
    drop();
  }
}

}  // namespace

std::string HalfStorage::Plan() const {
  if (halves_.empty()) return "";
  int64_t bytes = 0;
  for (const ValueId id : halves_) {
    bytes += graph_.source.model().weights().SizeInFile(*graph_.source.value(id).constant);
  }
  return std::to_string(halves_.size()) + " float32 constants of " + std::to_string(bytes) +
         " bytes are stored as FP16";
}

/// Only what is still read: a constant that was folded into another needs no second form.
void HalfStorage::Apply() {
  if (halves_.empty()) return;
  const auto needed = graph_.editor->NeededNames();
  for (const ValueId id : halves_) {
    if (needed.contains(graph_.source.value(id).name)) (void)Store(id);
  }
}

std::optional<int64_t> HalfStorage::Store(ValueId constant) {
  const auto [entry, added] = known_.try_emplace(constant);
  if (!added) return entry->second;
  const Value& value = graph_.source.value(constant);
  if (value.constant == nullptr || value.constant->data_type() != onnx::TensorProto::FLOAT) {
    throw InternalError("'" + value.name + "' is not a float32 constant");
  }
  const WeightReader& weights = graph_.source.model().weights();
  const Tensor values = weights.Read(*value.constant);
  const auto drop = [&] { weights.Drop(*value.constant); };
  bool fits = true;  // a draft believes the plan, which has looked
  if (!graph_.store.measures())
    ForEachChunk(values, drop, [&](std::span<const float> part) { fits = fits && FitsHalf(part); });
  if (!fits) {
    spdlog::warn("'" + value.name + "' stays float32: it has values that FP16 cannot hold");
    return std::nullopt;
  }
  const std::string half_name = StoreElements(value.name, values, drop);
  entry->second = BytesOf(DType::kFloat16, values.size());
  replaced_.insert(value.name);
  if (value.producer >= 0) graph_.editor->Replace(value.producer, {});  // a Constant node
  Spread(constant, half_name);
  return entry->second;
}

std::string HalfStorage::StoreElements(const std::string& name, const Tensor& values,
                                       const std::function<void()>& drop) {
  onnx::TensorProto tensor;
  tensor.set_name(graph_.store.UniqueName(name + "_fp16"));
  tensor.set_data_type(onnx::TensorProto::FLOAT16);
  for (const int64_t dim : values.shape()) tensor.add_dims(dim);
  const int64_t bytes = BytesOf(DType::kFloat16, values.size());
  graph_.store.Store(tensor, bytes, [&](const TensorStore::Write& write) {
    std::vector<Half> chunk;
    ForEachChunk(values, drop, [&](std::span<const float> part) {
      chunk.resize(part.size());
      Convert(part, std::span<Half>(chunk));
      write(std::as_bytes(std::span<const Half>(chunk)));
    });
  });
  graph_.store.initializers().push_back(tensor);
  return tensor.name();
}

/// `half_name` holds the value's elements as FP16; gives every user what it needs.
void HalfStorage::Spread(ValueId id, const std::string& half_name) {
  const Value& value = graph_.source.value(id);
  bool needs_cast = value.graph_output;
  for (const Use& use : value.uses) {
    const Node& node = graph_.source.nodes()[size_t(use.node)];
    const ValueId output = use.input == 0 && OnlyMoves(node, use.input)
                               ? graph_.source.outputs(use.node)[0]
                               : kNoValue;
    if (output == kNoValue || graph_.source.value(output).graph_output) {
      needs_cast = true;
      continue;
    }
    const std::string moved = graph_.store.UniqueName(graph_.source.value(output).name + "_fp16");
    graph_.editor->SetInput(use.node, 0, half_name);
    graph_.editor->RenameOutput(use.node, 0, moved);
    Spread(output, moved);
  }
  if (!needs_cast) return;
  graph_.editor->InsertBehind(id, MakeCast(graph_.store.UniqueName(value.name + "/fp16_cast"),
                                           half_name, value.name, DType::kFloat32));
}

}  // namespace ptq
