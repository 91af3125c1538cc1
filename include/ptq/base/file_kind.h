// What a file is, told by its first bytes whatever its name says.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace ptq {

enum class FileKind {
  kUnknown,  ///< none of those below: text, or a protobuf such as an ONNX model
  kEmpty,
  kGitLfsPointer,  ///< a few lines that stand for a file which was not downloaded
  kHtml,           ///< a page, such as that of an error, saved in the place of a file
  // Packed
  kGzip,
  kZstd,
  kXz,
  kBzip2,
  kLz4,
  kSevenZip,
  kTar,
  kZip,
  // Text of two or four bytes a unit, with a byte order mark
  kUtf16Little,
  kUtf16Big,
  kUtf32Little,
  kUtf32Big,
  // Tables and documents
  kNpy,
  kNpz,
  kParquet,
  kArrow,
  kArrowStream,
  kAvro,
  kSqlite,
  kPdf,
  kOffice,
  // Models of other frameworks
  kSafetensors,
  kPickle,
  kTorchZip,
  kKerasZip,
  kHdf5,
  kGguf,
  kTfLite,
  kExecuTorch,
  kOrt,
  kTensorRt,
};

/// How many bytes of a file KindOf looks at, at most.
inline constexpr size_t kHeadBytes = 4096;

/// The kind of a file of which `head` is the beginning.
[[nodiscard]] FileKind KindOf(std::string_view head);
/// The same of a file on the disk; kUnknown for what is missing, unreadable or no regular file.
[[nodiscard]] FileKind KindOfFile(const std::filesystem::path& path);
/// "a safetensors file", with its article.
[[nodiscard]] std::string_view NameOf(FileKind kind);

/// The first kHeadBytes bytes of mapped ones as text.
[[nodiscard]] std::string_view HeadOf(std::span<const std::byte> bytes);

/// Throws InputError when `bytes`, the content of `path`, are a Git LFS pointer: whoever reads the
/// file wants what it stands for.
void RefuseGitLfsPointer(std::string_view bytes, const std::filesystem::path& path);

/// A path as one word of a shell command.
[[nodiscard]] std::string ShellWord(const std::filesystem::path& path);

}  // namespace ptq
