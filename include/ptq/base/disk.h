// Room on a file system, and the error of having none.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "ptq/base/error.h"

namespace ptq {

/// A file cannot grow: the file system is full, or a quota or the limit of a file's size reached.
class NoSpaceError : public OutputError {
 public:
  using OutputError::OutputError;
};

/// Whether that is what a value of errno means.
[[nodiscard]] bool IsNoSpace(int error);
/// Throws NoSpaceError or OutputError for what could not be written, by errno's value.
[[noreturn]] void ThrowWriteError(const std::filesystem::path& path, int error);

/// Bytes that this user may still write where `directory` lies, or will lie once it and those above
/// it are made; nothing where nobody knows.
[[nodiscard]] std::optional<int64_t> FreeBytes(const std::filesystem::path& directory);

/// Sizes of the files in a directory, together. Follows no links.
[[nodiscard]] int64_t BytesIn(const std::filesystem::path& directory);

}  // namespace ptq
