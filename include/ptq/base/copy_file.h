// Copies a large file, so that Ctrl-C is noticed.
#pragma once

#include <filesystem>

namespace ptq {

/// Copies a file's bytes, and nothing else of it. Throws InputError, OutputError, Interrupted.
void CopyFile(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace ptq
