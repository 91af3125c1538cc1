// What the files beside a model are, by their names.
#pragma once

#include <filesystem>

namespace ptq {

enum class SidecarKind {
  kRuntime,    ///< what a tokenizer, a feature extractor or a runtime may read
  kLegal,      ///< licences and read-me files
  kModel,      ///< an ONNX model or its data
  kWeights,    ///< weights in the form of another framework
  kOtherFile,  ///< anything else
};

/// `path`: relative to the model's package; its neighbours are looked at below `root`.
[[nodiscard]] SidecarKind SidecarKindOf(const std::filesystem::path& root,
                                        const std::filesystem::path& path);

/// Whether a directory is the form of a model in another framework (Core ML's packages).
[[nodiscard]] bool IsModelDirectory(const std::filesystem::path& path);

/// Whether a directory with a file of this name is a model's own: a configuration, a tokenizer, a
/// table of tokens.
[[nodiscard]] bool DescribesModel(const std::filesystem::path& path);

}  // namespace ptq
