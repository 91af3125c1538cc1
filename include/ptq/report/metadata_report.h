// Shows quantization_metadata.json.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace ptq {

/// One line for each linear, in the file's order: grid, scaling, losses relative to its output
/// energy, sizes; then totals. Throws InputError when `metadata` is not such a file's content.
[[nodiscard]] std::string MetadataText(const nlohmann::ordered_json& metadata);

}  // namespace ptq
