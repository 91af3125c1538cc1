// Aligns large tensors in the data file, keeps small ones inline, and stores equal ones once.
#include "tensor_store.h"

#include <algorithm>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/base/hash.h"
#include "ptq/base/interrupt.h"
#include "ptq/model/model.h"

namespace ptq {
namespace {

/// Page alignment lets a runtime map a tensor and drop its pages; 64 KiB is what the ONNX
/// specification recommends for large ones.
int64_t AlignmentFor(int64_t bytes) {
  if (bytes >= int64_t{1} << 20) return int64_t{64} << 10;
  return bytes >= int64_t{16} << 10 ? 4096 : 64;
}

void AddEntry(onnx::TensorProto& tensor, const std::string& key, const std::string& value) {
  auto* entry = tensor.add_external_data();
  entry->set_key(key);
  entry->set_value(value);
}

}  // namespace

std::string TensorStore::UniqueName(const std::string& wanted) {
  std::string name = wanted;
  for (int i = 2; !names_.insert(name).second; ++i) name = wanted + "_" + std::to_string(i);
  record_.names.push_back(name);
  return name;
}

std::string TensorStore::Add(const std::string& name, DType dtype, const Shape& shape,
                             std::span<const std::byte> bytes) {
  const std::string content = std::to_string(static_cast<int>(dtype)) + ToString(shape) + ":" +
                              std::to_string(FastHash(bytes));
  const auto [entry, added] = by_content_.try_emplace(content);
  if (!added && Holds(entry->second, bytes)) return entry->second;
  // Another tensor of the same hash stays findable.
  std::string unique = UniqueName(name);
  if (added) entry->second = unique;
  onnx::TensorProto tensor;
  tensor.set_name(unique);
  tensor.set_data_type(static_cast<int32_t>(dtype));
  for (const int64_t dim : shape) tensor.add_dims(dim);
  Store(tensor, static_cast<int64_t>(bytes.size()), [&](const Write& write) { write(bytes); });
  record_.initializers.push_back(tensor);
  if (added) record_.contents.emplace_back(content, unique);
  initializers_.push_back(std::move(tensor));
  return unique;
}

bool TensorStore::Holds(const std::string& name, std::span<const std::byte> bytes) {
  const auto found = std::ranges::find_if(
      initializers_, [&](const onnx::TensorProto& tensor) { return tensor.name() == name; });
  if (found == initializers_.end()) return false;
  if (file_.has_value()) file_->Flush();
  const Tensor stored = WeightReader(path_).Read(*found);
  return std::ranges::equal(stored.bytes(), bytes);
}

StoreRecord TensorStore::TakeRecord() {
  if (file_.has_value()) file_->Sync();
  record_.position = position();
  return std::exchange(record_, {});
}

void TensorStore::RestoreTensors(const StoreRecord& record) {
  restored_position_ = record.position;
  initializers_.insert(initializers_.end(), record.initializers.begin(), record.initializers.end());
  by_content_.insert(record.contents.begin(), record.contents.end());
}

void TensorStore::RestoreNames(const StoreRecord& record) {
  names_.insert(record.names.begin(), record.names.end());
  record_ = {};
}

void TensorStore::Continue() {
  const int64_t position = restored_position_.value_or(0);
  restored_position_.reset();
  if (position > 0) file_.emplace(path_, position);
}

void TensorStore::Store(onnx::TensorProto& tensor, int64_t size,
                        const std::function<void(const Write&)>& produce) {
  if (restored_position_.has_value()) {
    throw InternalError("'" + tensor.name() + "' is not what it was before the interruption");
  }
  int64_t received = 0;
  const auto check = [&] {
    if (received != size) {
      throw InternalError("tensor '" + tensor.name() + "': " + std::to_string(received) +
                          " bytes instead of " + std::to_string(size));
    }
    bytes_written_ += size;
  };
  tensor.clear_external_data();
  if (size < kSmallestExternal) {
    tensor.clear_data_location();
    std::string& raw = *tensor.mutable_raw_data();
    raw.clear();
    produce([&](std::span<const std::byte> bytes) {
      raw.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      received += static_cast<int64_t>(bytes.size());
    });
    return check();
  }
  if (!file_.has_value()) file_.emplace(path_);
  const int64_t offset = file_->Align(AlignmentFor(size));
  produce([&](std::span<const std::byte> bytes) {
    CheckInterrupt();
    file_->Write(bytes);
    received += static_cast<int64_t>(bytes.size());
  });
  tensor.clear_raw_data();
  tensor.set_data_location(onnx::TensorProto::EXTERNAL);
  AddEntry(tensor, "location", path_.filename().string());
  AddEntry(tensor, "offset", std::to_string(offset));
  AddEntry(tensor, "length", std::to_string(size));
  check();
}

void TensorStore::Close() {
  if (file_.has_value()) file_->Finish();
  file_.reset();
}

}  // namespace ptq
