// A safetensors file: the length of a JSON header (64 bits, little-endian), the header, the data.
#include "safetensors.h"

#include <map>

#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/json.h"

namespace ptq {
namespace {

using Json = nlohmann::json;

constexpr size_t kPrefix = 8;

std::span<const std::byte> HeaderOf(const MappedFile& file, const std::string& where) {
  const std::span<const std::byte> bytes = file.bytes();
  uint64_t length = 0;
  for (size_t i = 0; i < kPrefix && i < bytes.size(); ++i) {
    length |= uint64_t(bytes[i]) << (8 * i);
  }
  if (bytes.size() < kPrefix || length > bytes.size() - kPrefix) {
    throw InputError(where + ": not a safetensors file (its header reaches past the end)");
  }
  return bytes.subspan(kPrefix, size_t(length));
}

DType TypeOf(const std::string& name, const std::string& where) {
  static const std::map<std::string, DType> kTypes = {{"F32", DType::kFloat32},
                                                      {"F16", DType::kFloat16},
                                                      {"BF16", DType::kBFloat16},
                                                      {"F64", DType::kFloat64}};
  const auto found = kTypes.find(name);
  if (found != kTypes.end()) return found->second;
  throw UnsupportedError(where + ": elements of type " + name + "; expected F32, F16 or BF16");
}

/// The bytes of one entry of the header.
Tensor Extract(const Json& entry, std::span<const std::byte> data,
               const std::shared_ptr<const MappedFile>& file, const std::string& where) {
  const DType dtype = TypeOf(entry.at("dtype").get<std::string>(), where);
  const auto shape = entry.at("shape").get<Shape>();
  const auto offsets = entry.at("data_offsets").get<std::vector<uint64_t>>();
  size_t size = size_t(BytesOf(dtype, 1));
  bool sound = offsets.size() == 2 && offsets[0] <= offsets[1] && offsets[1] <= data.size();
  for (const int64_t dim : shape) {
    sound = sound && dim > 0 && size <= data.size() / size_t(dim);
    if (sound) size *= size_t(dim);
  }
  if (!sound || offsets[1] - offsets[0] != size) {
    throw InputError(where + ": its shape and its place in the file do not agree");
  }
  const Tensor stored = Tensor::View(dtype, shape, data.subspan(size_t(offsets[0]), size), file);
  return stored.dtype() == DType::kFloat64 ? stored.Cast(DType::kFloat32) : stored.ToFloat32();
}

}  // namespace

std::optional<Tensor> ReadSafetensor(const std::filesystem::path& path, const std::string& name) {
  const std::shared_ptr<const MappedFile> file = MappedFile::Open(path);
  const std::string where = "'" + path.string() + "'";
  const std::span<const std::byte> header = HeaderOf(*file, where);
  const auto* const text = reinterpret_cast<const char*>(header.data());
  const Json json = ParseJson<Json>({text, header.size()});
  if (!json.is_object()) throw InputError(where + ": not a safetensors file (no JSON header)");
  const auto entry = json.find(name);
  if (entry == json.end()) return std::nullopt;
  try {
    return Extract(*entry, file->bytes().subspan(kPrefix + header.size()), file,
                   where + ", tensor '" + name + "'");
  } catch (const Json::exception& error) {
    throw InputError(where + ", tensor '" + name + "': " + JsonReason(error));
  }
}

}  // namespace ptq
