// Parses and writes .npy headers, and reads and writes .npz archives by libzip.
#include "ptq/tensor/npz.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <memory>
#include <utility>

#include <zip.h>

#include "ptq/base/disk.h"
#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/file_kind.h"
#include "ptq/base/interrupt.h"

namespace ptq {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

struct NpyType {
  std::string_view code;
  DType dtype;
};
constexpr std::array<NpyType, 12> kNpyTypes = {{{"f4", DType::kFloat32},
                                                {"f8", DType::kFloat64},
                                                {"f2", DType::kFloat16},
                                                {"i8", DType::kInt64},
                                                {"i4", DType::kInt32},
                                                {"i2", DType::kInt16},
                                                {"i1", DType::kInt8},
                                                {"u8", DType::kUint64},
                                                {"u4", DType::kUint32},
                                                {"u2", DType::kUint16},
                                                {"u1", DType::kUint8},
                                                {"b1", DType::kBool}}};

/// The text after "'key':" in the header's dictionary literal.
std::string_view FieldOf(std::string_view header, std::string_view key, const std::string& where) {
  const size_t at = header.find(key);
  if (at == std::string_view::npos) throw InputError(where + ": malformed .npy header");
  auto rest = header.substr(at + key.size());
  rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of("': ")));
  return rest;
}

Shape ParseShape(std::string_view text, const std::string& where) {
  const size_t open = text.find('(');
  const size_t close = text.find(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) {
    throw InputError(where + ": malformed .npy shape");
  }
  Shape shape;
  const char* p = text.data() + open + 1;
  const char* end = text.data() + close;
  while (p < end) {
    if (*p == ' ' || *p == ',') {
      ++p;
      continue;
    }
    int64_t dim = 0;
    const auto [next, error] = std::from_chars(p, end, dim);
    if (error != std::errc() || dim < 0) throw InputError(where + ": malformed .npy shape");
    shape.push_back(dim);
    p = next;
  }
  return shape;
}

/// Column-major elements to row-major.
Tensor FromFortran(const Tensor& tensor) {
  Tensor result(tensor.dtype(), tensor.shape());
  const auto width = static_cast<size_t>(BitsOf(tensor.dtype()) / 8);
  const auto strides = RowMajorStrides(tensor.shape());
  const auto in = tensor.bytes();
  const auto out = result.mutable_bytes();
  std::vector<int64_t> index(tensor.shape().size(), 0);
  for (int64_t i = 0; i < tensor.size(); ++i) {
    int64_t to = 0;
    for (size_t d = 0; d < index.size(); ++d) to += index[d] * strides[d];
    std::memcpy(out.data() + size_t(to) * width, in.data() + size_t(i) * width, width);
    for (size_t d = 0; d < index.size(); ++d) {
      if (++index[d] < tensor.shape()[d]) break;
      index[d] = 0;
    }
  }
  return result;
}

Tensor ParseNpy(std::string_view bytes, const std::string& where) {
  if (bytes.size() < 12 || bytes.substr(0, kMagic.size()) != kMagic) {
    throw InputError(where + ": not a .npy array");
  }
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<uint8_t>(bytes[i])); };
  const bool long_header = byte(6) >= 2;
  const size_t start = long_header ? 12 : 10;
  size_t length = byte(8) + (byte(9) << 8);
  if (long_header) length += (byte(10) << 16) + (byte(11) << 24);
  if (start + length > bytes.size()) throw InputError(where + ": truncated .npy header");
  const auto header = bytes.substr(start, length);
  const auto descr = FieldOf(header, "'descr'", where);
  if (descr.size() < 4) throw InputError(where + ": malformed .npy header");
  const bool little = descr[0] == '<' || descr[0] == '|' || descr[0] == '=';
  DType dtype = DType::kUndefined;
  for (const auto& type : kNpyTypes) {
    if (descr.substr(1, 2) == type.code && descr.substr(3, 1) == "'") dtype = type.dtype;
  }
  if (!little || dtype == DType::kUndefined) {
    throw InputError(where + ": .npy element type '" + std::string(descr.substr(0, 3)) +
                     "' is not supported; save it as little-endian numbers or bool");
  }
  const Shape shape = ParseShape(FieldOf(header, "'shape'", where), where);
  const auto data = bytes.substr(start + length);
  // Before memory is taken for it: a damaged header may declare any size, even one that overflows.
  auto room = static_cast<int64_t>(data.size()) * 8 / BitsOf(dtype);
  const bool empty = std::ranges::find(shape, 0) != shape.end();
  for (size_t i = 0; !empty && i < shape.size(); ++i) {
    room /= shape[i];
  }
  if (!empty && room < 1) throw InputError(where + ": truncated .npy data");
  Tensor tensor(dtype, shape);
  if (tensor.size() > 0) {
    std::memcpy(tensor.mutable_bytes().data(), data.data(), tensor.bytes().size());
  }
  const bool fortran = FieldOf(header, "'fortran_order'", where).substr(0, 4) == "True";
  return fortran && shape.size() > 1 ? FromFortran(tensor) : tensor;
}

std::string FormatNpy(const Tensor& tensor, const std::string& name) {
  std::string descr;
  for (const auto& type : kNpyTypes) {
    if (type.dtype == tensor.dtype())
      descr = (type.code.back() == '1' ? "|" : "<") + std::string(type.code);
  }
  if (descr.empty()) {
    throw UnsupportedError("array '" + name + "' of type " +
                           std::string(DTypeName(tensor.dtype())) + " cannot be written to .npz");
  }
  std::string shape = "(";
  for (const int64_t dim : tensor.shape()) shape += std::to_string(dim) + ",";
  std::string header =
      "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + "), }";
  constexpr size_t kAlignment = 64;
  const size_t prefix = kMagic.size() + 4;
  while ((prefix + header.size() + 1) % kAlignment != 0) header += ' ';
  header += '\n';
  std::string text(kMagic);
  text += '\x01';
  text += '\0';
  text += static_cast<char>(header.size() & 0xff);
  text += static_cast<char>(header.size() >> 8);
  text += header;
  const auto data = tensor.bytes();
  text.append(reinterpret_cast<const char*>(data.data()), data.size());
  return text;
}

using Archive = std::unique_ptr<zip_t, decltype(&zip_discard)>;

/// An entry, as far as it is there: what the archive declares may be any number.
std::string ReadEntry(zip_t* archive, const zip_stat_t& info, const std::string& where) {
  constexpr uint64_t kChunk = 4 << 20;
  /// Deflate's greatest ratio, and what small entries need beside it.
  constexpr uint64_t kMostRatio = 1032, kBeside = 1 << 16;
  if (info.size > kBeside && (info.size - kBeside) / kMostRatio > info.comp_size) {
    throw InputError(where + " declares more bytes than it can hold; the archive is damaged");
  }
  const std::unique_ptr<zip_file_t, decltype(&zip_fclose)> entry(
      zip_fopen_index(archive, info.index, 0), &zip_fclose);
  std::string data;
  while (entry != nullptr && data.size() < info.size) {
    CheckInterrupt();
    const uint64_t begin = data.size(), wanted = std::min(kChunk, info.size - begin);
    data.resize(begin + wanted);
    const zip_int64_t count = zip_fread(entry.get(), data.data() + begin, wanted);
    data.resize(begin + uint64_t(std::max<zip_int64_t>(count, 0)));
    if (count <= 0) break;
  }
  if (entry == nullptr || data.size() != info.size) throw InputError("cannot read " + where);
  return data;
}

/// What a file is that is no archive.
std::string WhyNoArchive(const std::filesystem::path& path) {
  const auto file = MappedFile::Open(path);  // says what is missing, unreadable or a pointer
  const FileKind kind = KindOf(HeadOf(file->bytes()));
  const std::string name = "'" + path.string() + "'";
  switch (kind) {
    case FileKind::kUnknown: return "cannot open " + name + " as an .npz archive";
    case FileKind::kNpz:
    case FileKind::kZip: return name + " is a damaged or truncated archive; copy or make it again";
    default: return name + " is " + std::string(NameOf(kind)) + ", not an .npz archive";
  }
}

}  // namespace

bool IsArrayFile(const std::filesystem::path& path) {
  const FileKind kind = KindOfFile(path);
  const auto extension = path.extension();
  return kind == FileKind::kNpy || kind == FileKind::kNpz || extension == ".npy" ||
         extension == ".npz";
}

Tensor ReadNpy(const std::filesystem::path& path) {
  const auto file = MappedFile::Open(path);
  const auto bytes = file->bytes();
  return ParseNpy({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                  "'" + path.string() + "'");
}

std::map<std::string, Tensor> ReadNpz(const std::filesystem::path& path) {
  static_cast<void>(MappedFile::Open(path));  // a pipe would keep the library waiting
  int code = 0;
  Archive archive(zip_open(path.c_str(), ZIP_RDONLY, &code), &zip_discard);
  if (archive == nullptr) {
    throw InputError(WhyNoArchive(path));
  }
  std::map<std::string, Tensor> arrays;
  const zip_int64_t count = zip_get_num_entries(archive.get(), 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t info{};
    if (zip_stat_index(archive.get(), zip_uint64_t(i), 0, &info) != 0) {
      throw InputError("cannot read entry " + std::to_string(i) + " of '" + path.string() + "'");
    }
    std::string name = info.name;
    const std::string where = "'" + name + "' in '" + path.string() + "'";
    const std::string data = ReadEntry(archive.get(), info, where);
    if (name.ends_with(".npy")) name.resize(name.size() - 4);
    arrays[name] = ParseNpy(data, where);
  }
  return arrays;
}

void WriteNpz(const std::filesystem::path& path, const std::map<std::string, Tensor>& arrays) {
  int code = 0;
  Archive archive(zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code), &zip_discard);
  if (archive == nullptr) throw OutputError("cannot create '" + path.string() + "'");
  std::map<std::string, std::string> texts;  // libzip reads the buffers when it closes
  for (const auto& [name, tensor] : arrays) {
    const std::string& text = texts[name] = FormatNpy(tensor, name);
    zip_source_t* source = zip_source_buffer(archive.get(), text.data(), text.size(), 0);
    const zip_int64_t index =
        zip_file_add(archive.get(), (name + ".npy").c_str(), source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
      zip_source_free(source);
      throw OutputError("cannot add '" + name + "' to '" + path.string() + "'");
    }
    zip_set_file_compression(archive.get(), zip_uint64_t(index), ZIP_CM_STORE, 0);
  }
  // zip_close writes a temporary file and renames it; on failure the archive stays ours to discard.
  if (zip_close(archive.get()) != 0) {
    const std::string text = "cannot write '" + path.string() + "': " + zip_strerror(archive.get());
    const int error = zip_error_code_system(zip_get_error(archive.get()));
    if (IsNoSpace(error)) throw NoSpaceError(text);
    throw OutputError(text);
  }
  (void)archive.release();
}

}  // namespace ptq
