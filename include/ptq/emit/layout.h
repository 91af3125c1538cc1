// Where the files of a written model go.
#pragma once

#include <filesystem>
#include <string>

namespace ptq {

enum class Layout {
  kKeep,            ///< as kFlat, in a folder `onnx` when the source has it there
  kFlat,            ///< model.onnx and model.onnx.data beside the sidecar files
  kTransformersJs,  ///< onnx/model_q4.onnx and onnx/model_q4.onnx_data, the sidecar files above
};

/// Paths relative to the output directory.
struct OutputFiles {
  std::filesystem::path model = "model.onnx";
  std::filesystem::path data = "model.onnx.data";
  /// What transformers.js calls the model's type ("q4"); empty in the other layouts.
  std::string dtype;
};

/// The folder of its package in which a model's file lies: "onnx", or empty at the package's root.
[[nodiscard]] std::filesystem::path FolderOfModel(const std::filesystem::path& file);

/// A model called `name` in `folder`, and its data: `onnx/NAME.onnx_data`, as the packages have it
/// that use this folder, else `NAME.onnx.data`.
[[nodiscard]] OutputFiles FilesIn(const std::filesystem::path& folder, const std::string& name);

/// `source`: the source's .onnx file, whose name the layout of transformers.js keeps. `bits`: of a
/// code in the file. `half`: the linears' activations are FP16.
[[nodiscard]] OutputFiles FilesOf(Layout layout, const std::filesystem::path& source, int bits,
                                  bool half);

/// A config.json with an entry `transformers.js_config` that makes transformers.js (3 and later)
/// choose `files` when it is asked for nothing else, and fetch the data file. Files of no type that
/// it knows change an entry that is there, and add none. Other text than a JSON object is returned
/// as it is, with a warning.
[[nodiscard]] std::string ChooseInTransformersJs(const std::string& config,
                                                 const OutputFiles& files, bool has_data);

}  // namespace ptq
