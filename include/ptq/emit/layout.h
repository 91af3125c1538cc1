// Where the files of a written model go.
#pragma once

#include <filesystem>
#include <string>

namespace ptq {

enum class Layout {
  kFlat,            ///< model.onnx and model.onnx.data beside the sidecar files
  kTransformersJs,  ///< onnx/model_q4.onnx and onnx/model_q4.onnx_data, the sidecar files above
};

/// Paths relative to the output directory.
struct OutputFiles {
  std::filesystem::path model = "model.onnx";
  std::filesystem::path data = "model.onnx.data";
  /// What transformers.js calls the model's type ("q4"); empty in the flat layout.
  std::string dtype;
};

/// `source`: the source's .onnx file, whose name the layout of transformers.js keeps. `bits`: of a
/// code in the file. `half`: the linears' activations are FP16.
[[nodiscard]] OutputFiles FilesOf(Layout layout, const std::filesystem::path& source, int bits,
                                  bool half);

/// A config.json with an entry `transformers.js_config` that makes transformers.js (3 and later)
/// choose `files` when it is asked for nothing else, and fetch the data file. Other text than a
/// JSON object is returned as it is, with a warning.
[[nodiscard]] std::string ChooseInTransformersJs(const std::string& config,
                                                 const OutputFiles& files, bool has_data);

}  // namespace ptq
