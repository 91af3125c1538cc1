// Converts constants chunk by chunk, and moves the casts behind what only moves elements.
#include "half_storage.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <vector>

#include "format_nodes.h"
#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
#include "ptq/base/half.h"

namespace ptq {
namespace {

constexpr size_t kChunk = 1 << 20;

/// Whether the node's output holds elements of its first input and nothing else.
bool OnlyMoves(const Node& node, int input) {
  static const std::set<std::string> kTypes = {"Gather",  "Transpose", "Identity", "Reshape",
                                               "Squeeze", "Unsqueeze", "Flatten"};
  return input == 0 && node.domain().empty() && kTypes.contains(node.op_type());
}

bool NeedsConstantInPlace(const Node& node) {
  static const std::set<std::string> kTypes = {"QuantizeLinear", "DequantizeLinear", "Resize",
                                               "Upsample",       "QLinearMatMul",    "QLinearConv",
                                               "MatMulInteger",  "ConvInteger"};
  static const std::set<std::string> kContrib = {"MatMulNBits",          "MatMulBnb4",
                                                 "GatherBlockQuantized", "QMoE",
                                                 "QAttention",           "DynamicQuantizeMatMul",
                                                 "MatMulIntegerToFloat", "QuantizeLinear",
                                                 "DequantizeLinear"};
  if (node.domain().empty()) return kTypes.contains(node.op_type());
  return node.domain() == "com.microsoft" && kContrib.contains(node.op_type());
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

bool HalfStorage::CanStore(ValueId constant) const {
  const Value& value = graph_.value(constant);
  if (value.constant == nullptr || value.graph_output ||
      value.constant->data_type() != onnx::TensorProto::FLOAT) {
    return false;
  }
  if (value.producer < 0 && value.scope != 0) return false;  // a subgraph gives it out
  return std::ranges::none_of(value.uses, [&](const Use& use) {
    return NeedsConstantInPlace(graph_.nodes()[size_t(use.node)]);
  });
}

std::optional<int64_t> HalfStorage::Store(ValueId constant) {
  const auto [entry, added] = known_.try_emplace(constant);
  if (!added) return entry->second;
  const Value& value = graph_.value(constant);
  if (value.constant == nullptr || value.constant->data_type() != onnx::TensorProto::FLOAT) {
    throw InternalError("'" + value.name + "' is not a float32 constant");
  }
  const WeightReader& weights = graph_.model().weights();
  const Tensor values = weights.Read(*value.constant);
  const auto drop = [&] { weights.Drop(*value.constant); };
  bool fits = true;
  ForEachChunk(values, drop, [&](std::span<const float> part) { fits = fits && FitsHalf(part); });
  if (!fits) {
    spdlog::warn("'{}' stays float32: it has values that FP16 cannot hold", value.name);
    return std::nullopt;
  }
  const std::string half_name = StoreElements(value.name, values, drop);
  entry->second = BytesOf(DType::kFloat16, values.size());
  replaced_.insert(value.name);
  if (value.producer >= 0) editor_.Replace(value.producer, {});  // a Constant node
  Spread(constant, half_name);
  return entry->second;
}

std::string HalfStorage::StoreElements(const std::string& name, const Tensor& values,
                                       const std::function<void()>& drop) {
  onnx::TensorProto tensor;
  tensor.set_name(store_.UniqueName(name + "_fp16"));
  tensor.set_data_type(onnx::TensorProto::FLOAT16);
  for (const int64_t dim : values.shape()) tensor.add_dims(dim);
  const int64_t bytes = BytesOf(DType::kFloat16, values.size());
  store_.Store(tensor, bytes, [&](const TensorStore::Write& write) {
    std::vector<Half> chunk;
    ForEachChunk(values, drop, [&](std::span<const float> part) {
      chunk.resize(part.size());
      Convert(part, std::span<Half>(chunk));
      write(std::as_bytes(std::span<const Half>(chunk)));
    });
  });
  store_.initializers().push_back(tensor);
  return tensor.name();
}

/// `half_name` holds the value's elements as FP16; gives every user what it needs.
void HalfStorage::Spread(ValueId id, const std::string& half_name) {
  const Value& value = graph_.value(id);
  bool needs_cast = value.graph_output;
  for (const Use& use : value.uses) {
    const Node& node = graph_.nodes()[size_t(use.node)];
    const ValueId output =
        use.input == 0 && OnlyMoves(node, use.input) ? graph_.outputs(use.node)[0] : kNoValue;
    if (output == kNoValue || graph_.value(output).graph_output) {
      needs_cast = true;
      continue;
    }
    const std::string moved = store_.UniqueName(graph_.value(output).name + "_fp16");
    editor_.SetInput(use.node, 0, half_name);
    editor_.RenameOutput(use.node, 0, moved);
    Spread(output, moved);
  }
  if (!needs_cast) return;
  editor_.InsertBehind(id, MakeCast(store_.UniqueName(value.name + "/fp16_cast"), half_name,
                                    value.name, DType::kFloat32));
}

}  // namespace ptq
