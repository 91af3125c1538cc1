// The .onnx files of a directory: which of them are forms of one model, and which form is taken.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace ptq {

/// What the name of a model's file tells of its precision: `model_q4f16`, `model.int8`,
/// `model-quant`, `model_fp16` and `model` are forms of `model`.
struct ModelForm {
  std::string base;  ///< without the form; empty when the form is the whole name
  int rank = 0;      ///< 0: plain; larger ones are worse
  [[nodiscard]] bool is_quantized() const { return rank >= kQuantized; }
  static constexpr int kQuantized = 100;
};

/// `stem`: a file's name without ".onnx".
[[nodiscard]] ModelForm FormOfName(const std::string& stem);

struct ModelChoice {
  std::vector<std::filesystem::path> files;     ///< sorted
  std::vector<std::filesystem::path> left_out;  ///< other forms of these models, sorted
};

/// Of the forms of each model the best float one: plain or FP32, then BF16, then FP16. Forms of
/// which all are quantized stay, for the caller to tell which is meant.
[[nodiscard]] ModelChoice ChooseForms(std::vector<std::filesystem::path> files);

/// The visible .onnx files of a directory, sorted; empty when it cannot be read.
[[nodiscard]] std::vector<std::filesystem::path> OnnxFilesIn(
    const std::filesystem::path& directory);

/// The one model that `source` stands for: the file itself, or of a directory (or its folder
/// `onnx`) the model named `model` in its best form, or the only model. `left_out` are its other
/// forms. Throws InputError when there is none, or several.
[[nodiscard]] ModelChoice ChooseModel(const std::filesystem::path& source);

/// "'model_q4.onnx', 'model_int8.onnx'": for messages; the names of files.
[[nodiscard]] std::string NamesOf(const std::vector<std::filesystem::path>& files);

}  // namespace ptq
