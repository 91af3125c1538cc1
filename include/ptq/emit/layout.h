// Where the files of a written model go.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ptq/plan/recipe.h"

namespace ptq {

/// Paths relative to the output directory.
struct OutputFiles {
  std::filesystem::path model = "model.onnx";
  std::filesystem::path data = "model.onnx.data";
  /// What transformers.js calls the model's type ("q4"); empty in the other layouts.
  std::string dtype;
  bool half_cache = false;  ///< the model reads and gives its cache as FP16
  /// Bytes at which another data file begins (DataFile), but for a tensor that is larger; 0: one.
  int64_t most_bytes = 0;
};

/// The data files of `files` that are in `directory`, in order.
[[nodiscard]] std::vector<std::filesystem::path> DataFilesIn(const std::filesystem::path& directory,
                                                             const OutputFiles& files);

/// The folder of its package in which a model's file lies: "onnx", or empty at the package's root.
[[nodiscard]] std::filesystem::path FolderOfModel(const std::filesystem::path& file);

/// A model called `name` in `folder`, and its data: `onnx/NAME.onnx_data`, as the packages have it
/// that use this folder, else `NAME.onnx.data`.
[[nodiscard]] OutputFiles FilesIn(const std::filesystem::path& folder, const std::string& name);

/// `source`: the source's .onnx file, whose name the layout of transformers.js keeps. `bits`: of a
/// code in the file, 16 where FP16 takes the place of codes. `half`: the linears' activations are
/// FP16. `codebook`: of their form; null: uniform levels.
[[nodiscard]] OutputFiles FilesOf(Layout layout, const std::filesystem::path& source, int bits,
                                  bool half, const Levels* codebook = nullptr);

/// A config.json with an entry `transformers.js_config` that makes transformers.js (3 and later)
/// choose `files` when it is asked for nothing else, and fetch their `data_files`, which are so
/// many. Files of no type that it knows change an entry that is there, and add none. Other text
/// than a JSON object is returned as it is, with a warning.
[[nodiscard]] std::string ChooseInTransformersJs(const std::string& config,
                                                 const OutputFiles& files, size_t data_files);

}  // namespace ptq
