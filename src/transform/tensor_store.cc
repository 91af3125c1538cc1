// Aligns large tensors in the data files, keeps small ones inline, and stores equal ones once.
#include "ptq/transform/tensor_store.h"

#include <algorithm>
#include <utility>

#include "ptq/base/error.h"
#include "ptq/base/format.h"
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

onnx::TensorProto Header(const std::string& name, DType dtype, const Shape& shape) {
  onnx::TensorProto tensor;
  tensor.set_name(name);
  tensor.set_data_type(static_cast<int32_t>(dtype));
  for (const int64_t dim : shape) tensor.add_dims(dim);
  return tensor;
}

/// What two tensors have in common that are stored once: `tag` tells their bytes.
std::string ContentOf(DType dtype, const Shape& shape, const std::string& tag) {
  return std::to_string(static_cast<int>(dtype)) + ToString(shape) + ":" + tag;
}

void AddEntry(onnx::TensorProto& tensor, const std::string& key, const std::string& value) {
  auto* entry = tensor.add_external_data();
  entry->set_key(key);
  entry->set_value(value);
}

void SetPlace(onnx::TensorProto& tensor, const std::string& file, int64_t offset, int64_t size) {
  tensor.clear_raw_data();
  tensor.set_data_location(onnx::TensorProto::EXTERNAL);
  AddEntry(tensor, "location", file);
  AddEntry(tensor, "offset", std::to_string(offset));
  AddEntry(tensor, "length", std::to_string(size));
}

}  // namespace

std::filesystem::path DataFile(const std::filesystem::path& first, size_t index) {
  std::filesystem::path file = first;
  if (index > 0) file += "_" + std::to_string(index);
  return file;
}

std::string TensorStore::UniqueName(const std::string& wanted) {
  std::string name = names_.Take(wanted);
  record_.names.push_back(name);
  return name;
}

std::string TensorStore::Add(const std::string& name, DType dtype, const Shape& shape,
                             std::span<const std::byte> bytes) {
  const auto write_all = [&](const Write& write) { write(bytes); };
  if (measures_ && IsFloat(dtype)) return Stream(name, dtype, shape, write_all);
  const std::string content = ContentOf(dtype, shape, std::to_string(FastHash(bytes)));
  if (const auto* equal = FindEqual(content, bytes)) return equal->name();
  std::string unique = Stream(name, dtype, shape, write_all);
  Remember(content, unique);
  return unique;
}

std::string TensorStore::AddPacked(const std::string& name, DType dtype, const Shape& shape,
                                   const Pack& pack) {
  if (!measures_) return Add(name, dtype, shape, pack());
  const auto [entry, added] = by_content_.try_emplace(ContentOf(dtype, shape, name));
  if (added) entry->second = Stream(name, dtype, shape, {});
  return entry->second;
}

std::string TensorStore::AddAlone(const std::string& name, DType dtype, const Shape& shape,
                                  const Pack& pack, const std::string& alike) {
  std::vector<std::byte> bytes;
  if (!measures_) bytes = pack();
  const std::string tag = measures_ ? alike : std::to_string(FastHash(bytes));
  const std::string content = "alone " + ContentOf(dtype, shape, tag);
  const auto* const equal = FindEqual(content, bytes);
  if (equal != nullptr && equal->data_location() == onnx::TensorProto::EXTERNAL) {
    onnx::TensorProto tensor = *equal;
    tensor.set_name(UniqueName(name));
    return Keep(std::move(tensor));
  }
  std::string unique = Stream(name, dtype, shape, [&](const Write& write) { write(bytes); });
  Remember(content, unique);
  return unique;
}

std::string TensorStore::Stream(const std::string& name, DType dtype, const Shape& shape,
                                const std::function<void(const Write&)>& produce) {
  onnx::TensorProto tensor = Header(UniqueName(name), dtype, shape);
  Store(tensor, BytesOf(dtype, NumElements(shape)), produce);
  return Keep(std::move(tensor));
}

/// Makes an initializer of a tensor that is stored.
std::string TensorStore::Keep(onnx::TensorProto tensor) {
  record_.initializers.push_back(tensor);
  by_name_[tensor.name()] = initializers_.size();
  initializers_.push_back(std::move(tensor));
  return initializers_.back().name();
}

const onnx::TensorProto* TensorStore::FindEqual(const std::string& content,
                                                std::span<const std::byte> bytes) {
  const auto known = by_content_.find(content);
  if (known == by_content_.end()) return nullptr;
  const auto found = by_name_.find(known->second);
  if (found == by_name_.end()) return nullptr;
  if (measures_) return &initializers_[found->second];  // as far as the content tells
  if (file_.has_value()) file_->Flush();
  const onnx::TensorProto& tensor = initializers_[found->second];
  const Tensor stored = WeightReader(path_).Read(tensor);
  return std::ranges::equal(stored.bytes(), bytes) ? &tensor : nullptr;
}

void TensorStore::Remember(const std::string& content, const std::string& name) {
  // Of two with one hash the first stays findable.
  if (by_content_.emplace(content, name).second) record_.contents.emplace_back(content, name);
}

StoreRecord TensorStore::TakeRecord() {
  for (const auto& file : std::exchange(finished_, {})) SyncFile(file);
  if (file_.has_value()) file_->Sync();
  record_.files = files_;
  return std::exchange(record_, {});
}

void TensorStore::RestoreTensors(const StoreRecord& record) {
  files_ = record.files;
  restoring_ = true;
  for (const onnx::TensorProto& tensor : record.initializers) {
    by_name_[tensor.name()] = initializers_.size();
    initializers_.push_back(tensor);
  }
  by_content_.insert(record.contents.begin(), record.contents.end());
}

void TensorStore::RestoreNames(const StoreRecord& record) {
  for (const std::string& name : record.names) names_.Reserve(name);
  record_ = {};
}

void TensorStore::Continue() {
  restoring_ = false;
  if (!files_.empty()) file_.emplace(LastFile(), files_.back());
}

int64_t TensorStore::Place(int64_t size) {
  const int64_t alignment = AlignmentFor(size);
  const int64_t end = files_.empty() ? 0 : files_.back();
  const int64_t offset = (end + alignment - 1) / alignment * alignment;
  const bool full = most_ > 0 && offset > most_ - size;
  if (!files_.empty() && !full) {
    files_.back() = offset + size;
    return offset;
  }
  if (files_.size() == kMostDataFiles) {
    throw UsageError("--max-file-size " + FormatBytes(most_) + " makes more than " +
                     std::to_string(kMostDataFiles) +
                     " data files, and transformers.js reads no more; give a larger size");
  }
  files_.push_back(size);
  return 0;
}

void TensorStore::NextFile() {
  Close();
  if (files_.size() > 1) finished_.push_back(DataFile(path_, files_.size() - 2));
  file_.emplace(LastFile());
}

void TensorStore::Measure(onnx::TensorProto& tensor, int64_t size) {
  tensor.clear_external_data();
  bytes_written_ += size;
  if (size < kSmallestExternal) {
    tensor.clear_data_location();
    tensor.mutable_raw_data()->assign(size_t(size), '\0');
    return;
  }
  const int64_t offset = Place(size);
  SetPlace(tensor, LastFile().filename().string(), offset, size);
}

void TensorStore::Store(onnx::TensorProto& tensor, int64_t size,
                        const std::function<void(const Write&)>& produce) {
  if (measures_) return Measure(tensor, size);
  if (restoring_) {
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
  const int64_t offset = Place(size);
  if (offset == 0) NextFile();
  (void)file_->Align(AlignmentFor(size));
  produce([&](std::span<const std::byte> bytes) {
    CheckInterrupt();
    file_->Write(bytes);
    received += static_cast<int64_t>(bytes.size());
  });
  SetPlace(tensor, LastFile().filename().string(), offset, size);
  check();
}

void TensorStore::Close() {
  if (file_.has_value()) file_->Finish();
  file_.reset();
}

}  // namespace ptq
