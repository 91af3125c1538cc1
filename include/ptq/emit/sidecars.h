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

/// A file, or a directory with a slash at the end, that stays behind, and why.
struct LeftOut {
  std::string file;
  std::string why;
};

/// What became of the files beside a model; relative names, sorted.
struct Sidecars {
  std::vector<std::string> copied;
  std::vector<LeftOut> left_out;
};

/// Copies the files of SidecarDirectory, subdirectories included, to `destination`. Left out: other
/// models, weights in the forms of other frameworks, files above kLargestSidecar, subdirectories
/// that hold a model of their own, and links that lead out of the directory (a Hugging Face cache's
/// `blobs` excepted); and without a word hidden files, the source's own model, and what the
/// destination writes itself. The weights of modules that sentence-transformers computes behind the
/// model (modules.json) are copied. When nothing in the directory describes a model (config.json,
/// tokenizer.json, tokens.txt …), it may be anybody's directory: then only licences, read-me files
/// and, of the model's own folder, files of the kinds that runtimes read are taken. The model file
/// named in genai_config.json becomes that of `files`, which are written already, config.json tells
/// transformers.js of them, and a model card says that the model is quantized (QuantizedCard).
/// Throws OutputError.
[[nodiscard]] Sidecars CopySidecars(const Model& model, const std::filesystem::path& destination,
                                    const OutputFiles& files = {});
/// The same for a directory of several models, whose names in genai_config.json stay; `models` and
/// `data_files` are those of the source.
[[nodiscard]] Sidecars CopySidecars(const std::filesystem::path& root,
                                    std::span<const std::filesystem::path> models,
                                    std::span<const std::filesystem::path> data_files,
                                    const std::filesystem::path& destination,
                                    std::span<const OutputFiles> files);

/// Logs what was copied and what was left out.
void SaySidecars(const Sidecars& sidecars);

}  // namespace ptq
