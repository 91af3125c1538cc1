// Unpacks and converts files of texts.
#include "decode_text.h"

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include "../backend.h"
#include "utf8.h"
#define ZLIB_CONST  // its input is const then
#include <zlib.h>

#include "ptq/base/error.h"
#include "ptq/base/file_kind.h"

namespace ptq {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
/// A file of some kilobytes can unpack to any size.
constexpr size_t kMostUnpacked = size_t{4} << 30;

std::string NameOf(const std::filesystem::path& file) {
  return file == "-" ? "standard input" : "'" + file.string() + "'";
}

// ---- gzip ---------------------------------------------------------------------------------------

/// Every member of the file, one behind the other.
std::string Unpack(std::string_view packed, const std::string& name) {
  constexpr int kGzip = 16 + MAX_WBITS;
  z_stream stream{};
  if (inflateInit2(&stream, kGzip) != Z_OK) throw ResourceError("cannot unpack " + name);
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> end(&stream, &inflateEnd);
  std::string text;
  std::array<char, size_t{1} << 16> part;
  int state = Z_OK;
  do {
    if (stream.avail_in == 0 && !packed.empty()) {
      const std::string_view next = packed.substr(0, size_t{1} << 30);
      stream.next_in = reinterpret_cast<const Bytef*>(next.data());
      stream.avail_in = uInt(next.size());
      packed.remove_prefix(next.size());
    }
    stream.next_out = reinterpret_cast<Bytef*>(part.data());
    stream.avail_out = uInt(part.size());
    state = inflate(&stream, Z_NO_FLUSH);
    text.append(part.data(), part.size() - stream.avail_out);
    if (text.size() > kMostUnpacked) {
      throw InputError(name + " unpacks to more than 4 GiB; unpack it and give a part of it");
    }
    // What follows may be another member; anything else is padding, which gzip ignores, too.
    const bool more = stream.avail_in > 0 && stream.next_in[0] == 0x1F;
    if (state == Z_STREAM_END && more) state = inflateReset(&stream);
  } while (state == Z_OK);
  if (state != Z_STREAM_END)
    throw InputError(name + " is damaged or truncated: gzip cannot unpack it");
  return text;
}

// ---- Zstandard ----------------------------------------------------------------------------------

std::string UnpackFrames(std::string_view packed, const std::string& name) {
  try {
    return text_backend::UnpackZstd(packed, kMostUnpacked);
  } catch (const InputError& error) {
    throw InputError(name + " is damaged or truncated: Zstandard cannot unpack it (" +
                     error.what() + ")");
  }
}

// ---- UTF-16 -------------------------------------------------------------------------------------

void AppendUtf8(uint32_t code, std::string& text) {
  const auto put = [&](uint32_t byte) { text += static_cast<char>(byte); };
  const auto continuation = [&](int shift) { put(0x80 | (code >> shift & 0x3F)); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xC0 | code >> 6);
  } else {
    if (code < 0x10000) {
      put(0xE0 | code >> 12);
    } else {
      put(0xF0 | code >> 18);
      continuation(12);
    }
    continuation(6);
  }
  continuation(0);
}

std::string FromUtf16(std::string_view bytes, bool little, const std::string& name) {
  const auto unit = [&](size_t i) {
    const auto first = uint32_t(uint8_t(bytes[i])), second = uint32_t(uint8_t(bytes[i + 1]));
    return little ? first | second << 8 : first << 8 | second;
  };
  const auto is = [](uint32_t code, uint32_t begin) { return (code & 0xFC00) == begin; };
  std::string text;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) {
    uint32_t code = unit(i);
    if (is(code, 0xD800)) {
      if (i + 3 >= bytes.size() || !is(unit(i + 2), 0xDC00)) {
        throw InputError(name + ": invalid UTF-16 at byte " + std::to_string(i));
      }
      code = 0x10000 + ((code & 0x3FF) << 10) + (unit(i += 2) & 0x3FF);
    } else if (is(code, 0xDC00)) {
      throw InputError(name + ": invalid UTF-16 at byte " + std::to_string(i));
    }
    AppendUtf8(code, text);
  }
  if (bytes.size() % 2 != 0) throw InputError(name + ": UTF-16 with half a character at its end");
  return text;
}

/// Without a byte order mark: every other byte of text in western languages is zero then.
FileKind WideKind(std::string_view head) {
  if (head.size() < 4) return FileKind::kUnknown;
  size_t zeros[2] = {0, 0};
  for (size_t i = 0; i < head.size(); ++i) zeros[i % 2] += head[i] == '\0' ? 1 : 0;
  const size_t most = head.size() / 4;  // half of the characters of either place
  if (zeros[1] > most && zeros[0] == 0) return FileKind::kUtf16Little;
  if (zeros[0] > most && zeros[1] == 0) return FileKind::kUtf16Big;
  return FileKind::kUnknown;
}

// ---- What others convert ------------------------------------------------------------------------

std::string PythonCommand(const std::string& statement, const std::filesystem::path& file) {
  return "python -c \"import sys; " + statement + "\" " + ShellWord(file) + " " +
         ShellWord(file.stem().string() + ".jsonl");
}

/// What to do about a file that is no text; of standard input only its kind can be said.
std::string Remedy(FileKind kind, const std::filesystem::path& file) {
  const std::string word = file == "-" ? "FILE" : ShellWord(file);
  switch (kind) {
    case FileKind::kXz: return "unpack it: xz -dk " + word;
    case FileKind::kBzip2: return "unpack it: bunzip2 -k " + word;
    case FileKind::kLz4: return "unpack it: lz4 -d " + word;
    case FileKind::kSevenZip: return "unpack it: 7z x " + word;
    case FileKind::kTar: return "unpack it: tar -xf " + word;
    case FileKind::kZip: return "unpack it: unzip " + word;
    case FileKind::kUtf32Little:
    case FileKind::kUtf32Big: return "convert it: iconv -f UTF-32 -t UTF-8 " + word + " > text.txt";
    case FileKind::kParquet: return "give it as a file, not on standard input or packed";
    case FileKind::kArrow:
    case FileKind::kArrowStream:
      return "convert it: " + PythonCommand(
                                  "import datasets; datasets.Dataset.from_file(sys.argv[1])"
                                  ".to_json(sys.argv[2])",
                                  file);
    case FileKind::kPdf: return "convert it: pdftotext " + word + " text.txt";
    case FileKind::kHtml:
      return "give the text in it, or, where it is an error page, download the file itself";
    case FileKind::kNpy:
    case FileKind::kNpz: return "give arrays as a file, not on standard input";
    default: return "give text, JSON lines or token ids";
  }
}

}  // namespace

std::filesystem::path WithoutPacking(std::filesystem::path file) {
  const auto extension = file.extension();
  const bool packed = extension == ".gz" || extension == ".zst" || extension == ".zstd";
  return packed ? file.replace_extension() : file;
}

std::string DecodeText(std::string bytes, const std::filesystem::path& file) {
  const std::string name = NameOf(file);
  RefuseGitLfsPointer(bytes, file);
  FileKind kind = KindOf(bytes);
  if (kind == FileKind::kGzip) return DecodeText(Unpack(bytes, name), WithoutPacking(file));
  if (kind == FileKind::kZstd) return DecodeText(UnpackFrames(bytes, name), WithoutPacking(file));
  const bool marked = kind == FileKind::kUtf16Little || kind == FileKind::kUtf16Big;
  if (kind == FileKind::kUnknown) kind = WideKind(std::string_view(bytes).substr(0, kHeadBytes));
  switch (kind) {
    case FileKind::kUtf16Little:
    case FileKind::kUtf16Big: {
      const std::string_view text = std::string_view(bytes).substr(marked ? 2 : 0);
      return FromUtf16(text, kind == FileKind::kUtf16Little, name);
    }
    case FileKind::kEmpty:
    case FileKind::kUnknown: break;
    default:
      throw InputError(name + " is " + std::string(NameOf(kind)) + ", not text; " +
                       Remedy(kind, file));
  }
  if (const auto offset = FirstInvalidUtf8(bytes)) {
    throw InputError(name + ": invalid UTF-8 at byte " + std::to_string(*offset) +
                     "; calibration text must be UTF-8, into which 'iconv -f WINDOWS-1252 -t "
                     "UTF-8' converts western text");
  }
  if (bytes.starts_with(kByteOrderMark)) bytes.erase(0, kByteOrderMark.size());
  return bytes;
}

}  // namespace ptq
