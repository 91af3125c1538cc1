// Reads tensors where their mark says they are, and compares them by their hashes.
#include "ptq/transform/marked_tensors.h"

#include <algorithm>
#include <set>

#include "ptq/base/hash.h"
#include "ptq/base/interrupt.h"
#include "ptq/model/graph_walk.h"

namespace ptq {
namespace {

constexpr char kModelKey[] = "ptq.model";
constexpr size_t kReadChunk = size_t{4} << 20;

bool IsExternal(const onnx::TensorProto& tensor) {
  return tensor.data_location() == onnx::TensorProto::EXTERNAL;
}

/// Type and shape.
std::string KindOfTensor(const onnx::TensorProto& tensor) {
  std::string kind = std::to_string(tensor.data_type());
  for (const int64_t dim : tensor.dims()) kind += "," + std::to_string(dim);
  return kind;
}

}  // namespace

void MarkedTensors::ForEach(
    onnx::ModelProto& proto,
    const std::function<void(onnx::TensorProto&, bool initializer)>& visit) {
  const auto in_node = [&](onnx::NodeProto& node) {
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.has_t()) visit(*attribute.mutable_t(), false);
      for (auto& tensor : *attribute.mutable_tensors()) visit(tensor, false);
    }
  };
  ForEachGraph(*proto.mutable_graph(), [&](onnx::GraphProto& graph) {
    for (auto& tensor : *graph.mutable_initializer()) visit(tensor, true);
    for (auto& node : *graph.mutable_node()) in_node(node);
  });
  for (auto& function : *proto.mutable_functions()) {
    ForEachNode(*function.mutable_node(), in_node);
  }
}

void MarkedTensors::Mark(onnx::ModelProto& proto, int model) {
  ForEach(proto, [&](onnx::TensorProto& tensor, bool) {
    if (!IsExternal(tensor)) return;
    auto* entry = tensor.add_external_data();
    entry->set_key(kModelKey);
    entry->set_value(std::to_string(model));
  });
}

const WeightReader& MarkedTensors::ReaderOf(const onnx::TensorProto& tensor) const {
  for (const auto& entry : tensor.external_data()) {
    if (entry.key() == kModelKey) return models_.at(std::stoul(entry.value()))->weights();
  }
  return inline_;
}

bool MarkedTensors::HasBytes(const onnx::TensorProto& tensor) {
  return IsExternal(tensor) || tensor.has_raw_data() ||
         BitsOf(static_cast<DType>(tensor.data_type())) != 0;
}

int64_t MarkedTensors::SizeOf(const onnx::TensorProto& tensor) const {
  if (IsExternal(tensor) || tensor.has_raw_data()) {
    return int64_t(ReaderOf(tensor).ReadBytes(tensor).bytes.size());
  }
  return int64_t(inline_.Read(tensor).bytes().size());
}

void MarkedTensors::Read(const onnx::TensorProto& tensor,
                         const std::function<void(std::span<const std::byte>)>& write) const {
  const WeightReader& reader = ReaderOf(tensor);
  Tensor typed;  // keeps elements of the typed fields alive
  WeightReader::StoredBytes stored;
  if (IsExternal(tensor) || tensor.has_raw_data()) {
    stored = reader.ReadBytes(tensor);
  } else {
    typed = reader.Read(tensor);
    stored.bytes = typed.bytes();
  }
  for (size_t begin = 0; begin < stored.bytes.size(); begin += kReadChunk) {
    CheckInterrupt();
    write(stored.bytes.subspan(begin, std::min(kReadChunk, stored.bytes.size() - begin)));
    if (IsExternal(tensor)) reader.Drop(tensor);
  }
}

std::string MarkedTensors::HashOf(const onnx::TensorProto& tensor) const {
  std::string place;
  if (IsExternal(tensor)) {
    for (const auto& entry : tensor.external_data())
      place += entry.key() + "=" + entry.value() + ";";
    if (const auto known = hashes_.find(place); known != hashes_.end()) return known->second;
  }
  Sha256 hash;
  Read(tensor, [&](std::span<const std::byte> bytes) { hash.Update(bytes); });
  std::string digest = hash.HexDigest();
  if (!place.empty()) hashes_[place] = digest;
  return digest;
}

std::unordered_map<std::string, std::string> MarkedTensors::FindEqual(
    const onnx::GraphProto& first, const onnx::GraphProto& second) const {
  std::set<std::string> kinds;  // of the second graph: others need not be read
  for (const auto& tensor : second.initializer()) kinds.insert(KindOfTensor(tensor));
  std::map<std::string, std::vector<std::string>> by_content;
  std::set<std::string> kinds_of_first;
  const auto content = [&](const onnx::TensorProto& tensor) {
    return KindOfTensor(tensor) + ":" + HashOf(tensor);
  };
  for (const auto& tensor : first.initializer()) {
    if (!HasBytes(tensor) || !kinds.contains(KindOfTensor(tensor))) continue;
    kinds_of_first.insert(KindOfTensor(tensor));
    by_content[content(tensor)].push_back(tensor.name());
  }
  std::unordered_map<std::string, std::string> equal;
  std::vector<std::pair<std::string, std::string>> rest;  // name, content
  for (const auto& tensor : second.initializer()) {
    if (!HasBytes(tensor) || !kinds_of_first.contains(KindOfTensor(tensor))) continue;
    const std::string key = content(tensor);
    const auto found = by_content.find(key);
    if (found == by_content.end()) continue;
    const auto same = std::ranges::find(found->second, tensor.name());
    if (same == found->second.end()) {
      rest.emplace_back(tensor.name(), key);
      continue;
    }
    equal[tensor.name()] = tensor.name();
    found->second.erase(same);
  }
  for (const auto& [name, key] : rest) {
    auto& left = by_content[key];
    if (left.empty()) continue;
    equal[name] = left.front();
    left.erase(left.begin());
  }
  return equal;
}

}  // namespace ptq
