// The files of a result: listed in its metadata, and found again by what may replace them.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "ptq/base/destination.h"

namespace ptq {

/// `names` below `directory` with their sizes and hashes; those that do not exist are left out.
/// Throws InputError for one that cannot be read.
[[nodiscard]] std::vector<WrittenFile> DescribeFiles(const std::filesystem::path& directory,
                                                     std::span<const std::filesystem::path> names);

/// Enters a file that was written once more, or as the last one.
void Relist(const std::filesystem::path& directory, const std::filesystem::path& name,
            std::vector<WrittenFile>& files);

/// The entry `files` of the metadata: `[{"file": "model.onnx", "bytes": 1234, "sha256": "…"}, …]`.
[[nodiscard]] nlohmann::ordered_json ToJson(std::span<const WrittenFile> files);

/// The same from metadata. Nothing when they are not of this program; names that leave the result's
/// directory are left out.
[[nodiscard]] std::optional<std::vector<WrittenFile>> FilesIn(
    const nlohmann::ordered_json& metadata);

/// What a run has written in `directory`, its metadata included, as that says; nothing when there
/// is no such metadata. Results of versions that listed no files have the model's, of unknown size,
/// and the sidecar files.
[[nodiscard]] std::optional<std::vector<WrittenFile>> WrittenFiles(
    const std::filesystem::path& directory);

}  // namespace ptq
