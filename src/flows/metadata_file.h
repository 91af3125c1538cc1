// Where the metadata of a result lie.
#pragma once

#include <filesystem>

namespace ptq {

/// The metadata file that a path names, lies beside, or stands for: a result's directory, one of
/// its models, a model that run wrote as one file, the metadata themselves. Empty: none.
[[nodiscard]] std::filesystem::path MetadataFileOf(const std::filesystem::path& path);

}  // namespace ptq
