// Says what stands where an ONNX model was expected, and how to get one from it.
#pragma once

#include <filesystem>
#include <span>
#include <string>

namespace ptq {

/// Why a path that does not exist is no model: the name of one on a hub, an address, a mistake.
[[nodiscard]] std::string WhyMissing(const std::filesystem::path& path);

/// Why a directory without an .onnx file is no model: what of other frameworks is in it, or where
/// below it .onnx files lie.
[[nodiscard]] std::string WhyNoModelIn(const std::filesystem::path& directory);

/// What a file is that is certainly no ONNX model by its first bytes; empty when it may be one.
[[nodiscard]] std::string WhyForeign(const std::filesystem::path& file,
                                     std::span<const std::byte> bytes);

/// Why a file that does not parse is no model.
[[nodiscard]] std::string WhyUnreadable(const std::filesystem::path& file,
                                        std::span<const std::byte> bytes);

}  // namespace ptq
