// Copies what stands beside the model: tokenizer, configuration, chat template, licences.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "ptq/emit/layout.h"
#include "ptq/model/model.h"

namespace ptq {

/// Larger files beside a model are weights of other formats, not sidecars.
inline constexpr int64_t kLargestSidecar = int64_t{64} << 20;

/// The directory whose files belong to a model in `directory`: that, or the one above when it is
/// `onnx/`.
[[nodiscard]] std::filesystem::path SidecarDirectory(const std::filesystem::path& directory);

/// Copies the files of SidecarDirectory, subdirectories included, to `destination` and returns
/// their relative names, sorted. Left out: models and their data, hidden files, what the
/// destination writes itself, subdirectories that hold a model of their own, files above
/// kLargestSidecar, and links that lead out of the directory (a Hugging Face cache's `blobs`
/// excepted). When nothing in the directory describes a model (config.json, tokenizer.json …), it
/// may be anybody's directory, and only licences and read-me files are taken. The model file named
/// in genai_config.json becomes that of `files`, which are written already, and in the layout of
/// transformers.js config.json chooses it, too. Throws OutputError.
std::vector<std::string> CopySidecars(const Model& model, const std::filesystem::path& destination,
                                      const OutputFiles& files = {});
/// The same for a directory of several models, whose names in genai_config.json stay;
/// `data_files` are those of the source.
std::vector<std::string> CopySidecars(const std::filesystem::path& root,
                                      std::span<const std::filesystem::path> data_files,
                                      const std::filesystem::path& destination,
                                      std::span<const OutputFiles> files);

}  // namespace ptq
