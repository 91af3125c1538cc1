// The signatures of file formats, in one table.
#include "ptq/base/file_kind.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>

#include <unistd.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"

namespace ptq {
namespace {

using namespace std::string_view_literals;  // NOLINT(google-build-using-namespace)

constexpr std::string_view kLfsLine = "version https://git-lfs.github.com/spec/v1";
/// The specification bounds a pointer file to this; only its first lines matter.
constexpr size_t kLfsBytes = 1024;

struct Signature {
  FileKind kind;
  size_t offset;
  std::string_view bytes;
};
/// The first that fits counts.
constexpr std::array<Signature, 31> kSignatures = {{
    {FileKind::kGitLfsPointer, 0, kLfsLine},
    {FileKind::kGzip, 0, "\x1F\x8B\x08"sv},
    {FileKind::kZstd, 0, "\x28\xB5\x2F\xFD"sv},
    {FileKind::kXz, 0, "\xFD\x37zXZ\x00"sv},
    {FileKind::kBzip2, 0, "BZh91AY&SY"sv},
    {FileKind::kLz4, 0, "\x04\x22\x4D\x18"sv},
    {FileKind::kSevenZip, 0, "7z\xBC\xAF\x27\x1C"sv},
    {FileKind::kTar, 257, "ustar"sv},
    {FileKind::kZip, 0, "PK\x03\x04"sv},
    {FileKind::kZip, 0, "PK\x05\x06"sv},
    {FileKind::kUtf32Little, 0, "\xFF\xFE\x00\x00"sv},
    {FileKind::kUtf32Big, 0, "\x00\x00\xFE\xFF"sv},
    {FileKind::kUtf16Little, 0, "\xFF\xFE"sv},
    {FileKind::kUtf16Big, 0, "\xFE\xFF"sv},
    {FileKind::kNpy, 0, "\x93NUMPY"sv},
    {FileKind::kParquet, 0, "PAR1\x15"sv},
    {FileKind::kParquet, 0, "PARE"sv},  // with an encrypted footer
    {FileKind::kArrow, 0, "ARROW1\x00\x00"sv},
    {FileKind::kArrowStream, 0, "\xFF\xFF\xFF\xFF"sv},
    {FileKind::kAvro, 0, "Obj\x01"sv},
    {FileKind::kSqlite, 0, "SQLite format 3\x00"sv},
    {FileKind::kPdf, 0, "%PDF-"sv},
    {FileKind::kOffice, 0, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"sv},
    {FileKind::kHdf5, 0, "\x89HDF\r\n\x1A\n"sv},
    {FileKind::kGguf, 0, "GGUF"sv},
    {FileKind::kGguf, 0, "tjgg"sv},  // llama.cpp's format before that
    {FileKind::kTfLite, 4, "TFL3"sv},
    {FileKind::kExecuTorch, 4, "ET12"sv},
    {FileKind::kOrt, 4, "ORTM"sv},
    {FileKind::kTensorRt, 0, "ftrt"sv},
    {FileKind::kTensorRt, 0, "ptrt"sv},
}};

/// Magic numbers that are words, too: a format's next bytes are numbers, a text's are letters.
bool IsWord(const Signature& signature) {
  return std::ranges::all_of(signature.bytes, [](char c) { return std::isalnum(uint8_t(c)); });
}

bool Fits(const Signature& signature, std::string_view head) {
  if (head.size() < signature.offset + signature.bytes.size()) return false;
  if (head.substr(signature.offset, signature.bytes.size()) != signature.bytes) return false;
  if (!IsWord(signature)) return true;
  const std::string_view around = head.substr(0, signature.offset + signature.bytes.size() + 8);
  return std::ranges::any_of(around, [](char c) { return uint8_t(c) < 0x09; });
}

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// By the name of the archive's first entries.
FileKind KindOfZip(std::string_view head) {
  constexpr size_t kNameAt = 30;
  const std::string_view entries = head.substr(std::min(head.size(), kNameAt));
  if (Contains(entries.substr(0, 512), ".npy")) return FileKind::kNpz;
  if (Contains(entries, "data.pkl")) return FileKind::kTorchZip;
  if (Contains(entries, "metadata.json") && Contains(entries, "config.json"))
    return FileKind::kKerasZip;
  if (Contains(entries, "[Content_Types].xml")) return FileKind::kOffice;
  return FileKind::kZip;
}

/// A length of eight bytes, then a JSON object of that length.
bool IsSafetensors(std::string_view head) {
  constexpr uint64_t kLongestHeader = 100'000'000;  // the format's own limit
  if (head.size() < 10 || head[8] != '{') return false;
  uint64_t length = 0;
  for (size_t i = 0; i < 8; ++i) length |= uint64_t(uint8_t(head[i])) << (8 * i);
  return length >= 2 && length <= kLongestHeader;
}

/// PROTO with a version that is in use, then another opcode: no UTF-8, and no protobuf field that
/// anybody numbers so.
bool IsPickle(std::string_view head) {
  return head.size() > 2 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5;
}

bool IsHtml(std::string_view head) {
  if (head.starts_with("\xEF\xBB\xBF")) head.remove_prefix(3);
  head.remove_prefix(std::min(head.size(), head.find_first_not_of(" \t\r\n")));
  std::string start(head.substr(0, 15));
  std::ranges::transform(start, start.begin(),
                         [](char c) { return char(std::tolower(uint8_t(c))); });
  return start.starts_with("<!doctype html") || start.starts_with("<html");
}

/// The number behind "size " in a pointer.
std::optional<std::string> LfsSize(std::string_view pointer) {
  constexpr std::string_view kKey = "\nsize ";
  const size_t at = pointer.find(kKey);
  if (at == std::string_view::npos) return std::nullopt;
  std::string_view digits = pointer.substr(at + kKey.size());
  digits = digits.substr(0, digits.find_first_not_of("0123456789"));
  return digits.empty() ? std::nullopt : std::optional<std::string>(digits);
}

}  // namespace

FileKind KindOf(std::string_view head) {
  if (head.empty()) return FileKind::kEmpty;
  head = head.substr(0, kHeadBytes);
  const auto found = std::ranges::find_if(
      kSignatures, [&](const Signature& signature) { return Fits(signature, head); });
  if (found != kSignatures.end()) {
    return found->kind == FileKind::kZip ? KindOfZip(head) : found->kind;
  }
  if (IsSafetensors(head)) return FileKind::kSafetensors;
  if (IsPickle(head)) return FileKind::kPickle;
  return IsHtml(head) ? FileKind::kHtml : FileKind::kUnknown;
}

FileKind KindOfFile(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return FileKind::kUnknown;
  if (::access(path.c_str(), R_OK) != 0) return FileKind::kUnknown;
  return KindOf(ReadFront(path, kHeadBytes));
}

std::string_view NameOf(FileKind kind) {
  switch (kind) {
    case FileKind::kUnknown: return "a file of an unknown kind";
    case FileKind::kEmpty: return "an empty file";
    case FileKind::kGitLfsPointer: return "a Git LFS pointer";
    case FileKind::kHtml: return "an HTML page";
    case FileKind::kGzip: return "packed with gzip";
    case FileKind::kZstd: return "packed with Zstandard";
    case FileKind::kXz: return "packed with xz";
    case FileKind::kBzip2: return "packed with bzip2";
    case FileKind::kLz4: return "packed with lz4";
    case FileKind::kSevenZip: return "a 7-Zip archive";
    case FileKind::kTar: return "a tar archive";
    case FileKind::kZip: return "a ZIP archive";
    case FileKind::kUtf16Little:
    case FileKind::kUtf16Big: return "text in UTF-16";
    case FileKind::kUtf32Little:
    case FileKind::kUtf32Big: return "text in UTF-32";
    case FileKind::kNpy: return "a NumPy array";
    case FileKind::kNpz: return "an archive of NumPy arrays";
    case FileKind::kParquet: return "a Parquet file";
    case FileKind::kArrow:
    case FileKind::kArrowStream: return "an Arrow file";
    case FileKind::kAvro: return "an Avro file";
    case FileKind::kSqlite: return "an SQLite database";
    case FileKind::kPdf: return "a PDF document";
    case FileKind::kOffice: return "an office document";
    case FileKind::kSafetensors: return "a safetensors file";
    case FileKind::kPickle:
    case FileKind::kTorchZip: return "a PyTorch file";
    case FileKind::kKerasZip: return "a Keras model";
    case FileKind::kHdf5: return "an HDF5 file (Keras, TensorFlow)";
    case FileKind::kGguf: return "a GGUF file";
    case FileKind::kTfLite: return "a TensorFlow Lite model";
    case FileKind::kExecuTorch: return "an ExecuTorch program";
    case FileKind::kOrt: return "a model in ONNX Runtime's ORT format";
    case FileKind::kTensorRt: return "a TensorRT engine";
  }
  return "";
}

std::string_view HeadOf(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), std::min(bytes.size(), kHeadBytes)};
}

void RefuseGitLfsPointer(std::string_view bytes, const std::filesystem::path& path) {
  if (!bytes.starts_with(kLfsLine)) return;
  const auto size = LfsSize(bytes.substr(0, kLfsBytes));
  throw InputError("'" + path.string() + "' is a Git LFS pointer: the file that it stands for" +
                   (size ? " (" + *size + " bytes)" : "") +
                   " was not downloaded; run 'git lfs pull' in its repository");
}

std::string ShellWord(const std::filesystem::path& path) {
  std::string text = path.string();
  const bool plain = !text.empty() && std::ranges::all_of(text, [](char c) {
    return std::isalnum(uint8_t(c)) || Contains("/._-+,:@%=", std::string_view(&c, 1));
  });
  if (plain) return text;
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

}  // namespace ptq
