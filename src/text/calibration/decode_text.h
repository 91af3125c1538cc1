// Makes UTF-8 of the bytes of a file of texts, or says with which command somebody else can.
#pragma once

#include <filesystem>
#include <string>

namespace ptq {

/// `bytes` of `file` without their packing (gzip, Zstandard), wide characters (UTF-16) and byte
/// order mark. Throws InputError for what is no text (Parquet, an archive, a page …): with the
/// command that makes text of it, where there is one; for bytes that are not UTF-8 with their
/// place.
[[nodiscard]] std::string DecodeText(std::string bytes, const std::filesystem::path& file);

/// The name without what only says how the file is packed: "a.jsonl" for "a.jsonl.gz".
[[nodiscard]] std::filesystem::path WithoutPacking(std::filesystem::path file);

}  // namespace ptq
