// The source model, read and understood.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "ptq/base/ranks.h"
#include "ptq/model/graph.h"
#include "ptq/model/model.h"
#include "ptq/runtime/executor.h"

namespace ptq {

/// What becomes of weights that are codes already.
enum class Codes {
  kRefuse,      ///< UnsupportedError
  kDequantize,  ///< operators on codes become float operators
  kKeep,        ///< they run as they are
};

struct Source {
  explicit Source(const std::filesystem::path& path, Codes codes = Codes::kRefuse);
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  Model model;
  Graph graph;
  Executor executor;
};

/// Sizes of the model's files, together.
[[nodiscard]] int64_t SourceBytes(const Model& model);
/// The model's files by name: sizes, and `sha256` of the .onnx file.
[[nodiscard]] nlohmann::ordered_json SourceIdentity(const Model& model, const std::string& sha256);
/// Throws InputError on a rank whose model, or program, is not that of rank 0: the ranks of other
/// machines read files of their own.
void CheckSameSource(const Model& model, const std::string& sha256, Ranks& ranks);
/// What tells whether the model's files are what they were, by name: `sha256` of the .onnx file;
/// of the others, which may be large, sizes and when they were last written.
[[nodiscard]] nlohmann::ordered_json SourceFiles(const Model& model, const std::string& sha256);

}  // namespace ptq
