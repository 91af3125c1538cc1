// Reads tensors from data files, raw bytes, typed fields and codes, within the files' bounds.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "requantize/dequantize.h"

#include "ptq/base/confined_path.h"
#include "ptq/base/error.h"
#include "ptq/base/file_kind.h"
#include "ptq/base/links.h"
#include "ptq/model/model.h"

namespace ptq {
namespace {

struct ExternalKeys {
  std::string location;
  int64_t offset = 0;
  std::optional<int64_t> length;
};

int64_t ParseCount(const onnx::TensorProto& proto, const onnx::StringStringEntryProto& entry) {
  try {
    size_t used = 0;
    const int64_t value = std::stoll(entry.value(), &used);
    if (used == entry.value().size() && value >= 0) return value;
  } catch (const std::exception&) {
    // Reported below, with the tensor's name.
  }
  throw InputError("tensor '" + proto.name() + "': external data " + entry.key() + " '" +
                   entry.value() + "' is not a byte count");
}

ExternalKeys ParseKeys(const onnx::TensorProto& proto) {
  ExternalKeys keys;
  for (const auto& entry : proto.external_data()) {
    if (entry.key() == "location") keys.location = entry.value();
    if (entry.key() == "offset") keys.offset = ParseCount(proto, entry);
    if (entry.key() == "length") keys.length = ParseCount(proto, entry);
  }
  return keys;
}

Shape ShapeOf(const onnx::TensorProto& proto) {
  Shape shape(proto.dims().begin(), proto.dims().end());
  for (const int64_t dim : shape) {
    if (dim < 0) throw InputError("tensor '" + proto.name() + "' has a negative dimension");
  }
  return shape;
}

/// Elements kept in the typed repeated fields (TensorProto.float_data and its kin).
Tensor FromTypedFields(const onnx::TensorProto& proto, DType dtype, Shape shape) {
  const auto fill = [&](const auto& field, auto tag, auto convert) {
    using T = decltype(tag);
    Tensor tensor(dtype, shape);
    if (tensor.size() != field.size()) {
      throw InputError("tensor '" + proto.name() + "' of shape " + ToString(shape) + " holds " +
                       std::to_string(field.size()) + " values");
    }
    auto out = tensor.mutable_data<T>();
    for (size_t i = 0; i < out.size(); ++i) out[i] = convert(field.Get(static_cast<int>(i)));
    return tensor;
  };
  const auto plain = [&](const auto& field, auto tag) {
    return fill(field, tag, [](auto value) { return static_cast<decltype(tag)>(value); });
  };
  switch (dtype) {
    case DType::kFloat32: return plain(proto.float_data(), float{});
    case DType::kFloat64: return plain(proto.double_data(), double{});
    case DType::kInt64: return plain(proto.int64_data(), int64_t{});
    case DType::kUint32: return plain(proto.uint64_data(), uint32_t{});
    case DType::kUint64: return plain(proto.uint64_data(), uint64_t{});
    case DType::kInt32: return plain(proto.int32_data(), int32_t{});
    case DType::kInt16: return plain(proto.int32_data(), int16_t{});
    case DType::kUint16: return plain(proto.int32_data(), uint16_t{});
    case DType::kInt8: return plain(proto.int32_data(), int8_t{});
    case DType::kUint8: return plain(proto.int32_data(), uint8_t{});
    case DType::kBool:
      return fill(proto.int32_data(), bool{}, [](int32_t value) { return value != 0; });
    case DType::kFloat16:
      return fill(proto.int32_data(), Half{},
                  [](int32_t value) { return Half{static_cast<uint16_t>(value)}; });
    case DType::kBFloat16:
      return fill(proto.int32_data(), BFloat16{},
                  [](int32_t value) { return BFloat16{static_cast<uint16_t>(value)}; });
    default: break;
  }
  if (BitsOf(dtype) <= 8 && BitsOf(dtype) > 0) {  // packed and 8-bit floats: one byte per int32
    Tensor tensor(dtype, shape);
    auto bytes = tensor.mutable_bytes();
    if (bytes.size() != static_cast<size_t>(proto.int32_data_size())) {
      throw InputError("tensor '" + proto.name() + "' does not hold the bytes of its shape");
    }
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<std::byte>(proto.int32_data(static_cast<int>(i)));
    }
    return tensor;
  }
  throw UnsupportedError("tensor '" + proto.name() + "' has element type " +
                         std::string(DTypeName(dtype)) + " (" + std::to_string(proto.data_type()) +
                         "), which is not supported");
}

/// A copy of mapped bytes whose pages go again on the way.
Tensor Copied(DType dtype, const Shape& shape, const MappedFile& file,
              std::span<const std::byte> bytes) {
  constexpr size_t kChunk = 4 << 20;
  Tensor copy(dtype, shape);
  std::byte* to = copy.mutable_bytes().data();
  for (; !bytes.empty(); bytes = bytes.subspan(std::min(kChunk, bytes.size()))) {
    const auto part = bytes.first(std::min(kChunk, bytes.size()));
    to = std::ranges::copy(part, to).out;
    file.Drop(part);
  }
  return copy;
}

}  // namespace

WeightReader::WeightReader(const std::filesystem::path& model)
    : model_name_(model.filename().string()) {
  if (model.empty()) return;
  directories_ = DirectoriesOf(model);
  allowed_ = directories_;
  if (const auto cached = FindCachedRepository(model)) allowed_.push_back(cached->blobs);
}

std::filesystem::path WeightReader::DataFile(const std::string& location,
                                             std::string_view what) const {
  std::filesystem::path first;
  std::error_code error;
  for (const auto& directory : directories_) {
    auto path = ConfinedFile(directory, location, what, allowed_);
    if (std::filesystem::is_regular_file(path, error)) return path;
    if (first.empty() || !std::filesystem::exists(first, error)) first = std::move(path);
  }
  const bool exists = !first.empty() && std::filesystem::exists(first, error);
  throw InputError(std::string(what) + " '" + first.string() + "' is " +
                   (exists ? "not a regular file" : "missing; copy it next to the model"));
}

/// The mapping of a data file, which is opened by whoever comes first.
std::shared_ptr<const MappedFile> WeightReader::FileAt(const std::string& location,
                                                       const std::string& what) const {
  const std::lock_guard lock(files_mutex_);
  std::shared_ptr<const MappedFile>& known = files_[ConfinedName(location, what).string()];
  if (known != nullptr) return known;
  auto file = MappedFile::Open(DataFile(location, what));
  if (KindOf(HeadOf(file->bytes())) == FileKind::kHtml) {
    throw InputError("external data file '" + file->path().string() +
                     "' is an HTML page, such as that of an error; download the file itself");
  }
  return known = std::move(file);
}

WeightReader::External WeightReader::Locate(const onnx::TensorProto& proto) const {
  const ExternalKeys keys = ParseKeys(proto);
  const std::string what = "tensor '" + proto.name() + "': external data";
  if (keys.location.empty()) throw InputError(what + " without a location");
  const std::filesystem::path relative = ConfinedName(keys.location, what);
  const std::shared_ptr<const MappedFile> file = FileAt(keys.location, what);
  const auto bytes = file->bytes();
  const auto size = static_cast<int64_t>(bytes.size());
  const auto dtype = static_cast<DType>(proto.data_type());
  // A type that this build does not know is as long as the file says.
  const int64_t needed =
      BitsOf(dtype) == 0 ? keys.length.value_or(-1) : BytesOf(dtype, NumElements(ShapeOf(proto)));
  if (needed < 0) {
    throw InputError("tensor '" + proto.name() + "': external data of element type " +
                     std::to_string(proto.data_type()) + " without a length");
  }
  const int64_t length = keys.length.value_or(needed);
  if (relative == model_name_ && length < needed) {
    throw InputError("tensor '" + proto.name() + "' of shape " + ToString(ShapeOf(proto)) +
                     " needs " + std::to_string(needed) + " bytes, the model holds " +
                     std::to_string(length));
  }
  if (keys.offset > size || length > size - keys.offset || length < needed) {
    throw InputError("external data '" + keys.location + "' is too short: tensor '" + proto.name() +
                     "' needs " + std::to_string(std::max(length, needed)) + " bytes from " +
                     std::to_string(keys.offset) + " on, the file has " + std::to_string(size) +
                     "; it is truncated");
  }
  return {file, bytes.subspan(static_cast<size_t>(keys.offset), static_cast<size_t>(needed))};
}

Tensor WeightReader::Read(const onnx::TensorProto& proto) const {
  const auto dtype = static_cast<DType>(proto.data_type());
  const Shape shape = ShapeOf(proto);
  if (const QuantizedWeight* weight = QuantizedBehind(proto)) return weight->Read(*this);
  if (proto.data_location() == onnx::TensorProto::EXTERNAL) {
    if (BitsOf(dtype) == 0) {
      throw UnsupportedError("tensor '" + proto.name() + "' has element type " +
                             std::to_string(proto.data_type()) + ", which is not supported");
    }
    const External external = Locate(proto);
    if (CopiedBytes(proto) > 0) return Copied(dtype, shape, *external.file, external.bytes);
    return Tensor::View(dtype, shape, external.bytes, external.file);
  }
  if (!proto.has_raw_data()) {
    return FromTypedFields(proto, dtype, shape);
  }
  if (BitsOf(dtype) == 0) {
    throw UnsupportedError("tensor '" + proto.name() + "' has element type " +
                           std::to_string(proto.data_type()) + ", which is not supported");
  }
  const auto needed = BytesOf(dtype, NumElements(shape));
  if (static_cast<int64_t>(proto.raw_data().size()) < needed) {
    throw InputError("tensor '" + proto.name() + "' of shape " + ToString(shape) + " needs " +
                     std::to_string(needed) + " bytes, the model holds " +
                     std::to_string(proto.raw_data().size()));
  }
  // The proto outlives the view by contract, so nobody owns the bytes here.
  return Tensor::View(dtype, shape, std::as_bytes(std::span(proto.raw_data())), nullptr);
}

WeightReader::StoredBytes WeightReader::ReadBytes(const onnx::TensorProto& proto) const {
  if (const QuantizedWeight* weight = QuantizedBehind(proto)) {
    const auto floats = std::make_shared<const Tensor>(weight->Read(*this));
    return {floats->bytes(), floats};
  }
  if (proto.data_location() == onnx::TensorProto::EXTERNAL) {
    const External external = Locate(proto);
    return {external.bytes, external.file};
  }
  if (!proto.has_raw_data()) {
    throw InternalError("tensor '" + proto.name() + "' does not hold raw bytes");
  }
  return {std::as_bytes(std::span(proto.raw_data())), nullptr};
}

int64_t WeightReader::CopiedBytes(const onnx::TensorProto& proto) const {
  if (proto.data_location() != onnx::TensorProto::EXTERNAL || QuantizedBehind(proto)) return 0;
  const External external = Locate(proto);
  const auto alignment = uintptr_t(std::max(1, BitsOf(DType(proto.data_type())) / 8));
  const bool aligned = reinterpret_cast<uintptr_t>(external.bytes.data()) % alignment == 0;
  return aligned ? 0 : int64_t(external.bytes.size());
}

const QuantizedWeight* WeightReader::QuantizedBehind(const onnx::TensorProto& proto) const {
  if (quantized_.empty() || proto.external_data_size() != 1) return nullptr;
  const auto& place = proto.external_data(0);
  return place.key() == kQuantizedKey ? quantized_.at(std::stoul(place.value())).get() : nullptr;
}

std::optional<StoredGrid> WeightReader::GridOf(const onnx::TensorProto& proto) const {
  const QuantizedWeight* const weight = QuantizedBehind(proto);
  return weight == nullptr ? std::nullopt : weight->Grid(*this);
}

int64_t WeightReader::SizeInFile(const onnx::TensorProto& proto) const {
  const QuantizedWeight* const weight = QuantizedBehind(proto);
  if (weight == nullptr) return BytesOf(DType(proto.data_type()), NumElements(ShapeOf(proto)));
  int64_t bytes = 0;
  for (const onnx::TensorProto* part : weight->Parts()) bytes += SizeInFile(*part);
  return bytes;
}

void WeightReader::Prefetch(const onnx::TensorProto& proto) const {
  if (const QuantizedWeight* weight = QuantizedBehind(proto)) {
    for (const onnx::TensorProto* part : weight->Parts()) Prefetch(*part);
    return;
  }
  if (proto.data_location() != onnx::TensorProto::EXTERNAL) return;
  const External external = Locate(proto);
  external.file->Prefetch(external.bytes);
}

void WeightReader::Drop(const onnx::TensorProto& proto) const {
  if (const QuantizedWeight* weight = QuantizedBehind(proto)) {
    for (const onnx::TensorProto* part : weight->Parts()) Drop(*part);
    return;
  }
  if (proto.data_location() != onnx::TensorProto::EXTERNAL) return;
  const External external = Locate(proto);
  external.file->Drop(external.bytes);
}

}  // namespace ptq
