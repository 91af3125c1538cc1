// The user's request after defaults and configuration files are merged.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "ptq/plan/gate.h"
#include "ptq/plan/plan.h"
#include "ptq/quant/method.h"
#include "ptq/text/calibration.h"

namespace ptq {

/// Where the written model and its data lie in the destination.
enum class Layout {
  kKeep,            ///< as kFlat, in a folder `onnx` when the source has it there
  kFlat,            ///< model.onnx and model.onnx.data beside the sidecar files
  kTransformersJs,  ///< onnx/model_q4.onnx and onnx/model_q4.onnx_data, the sidecar files above
};

struct Recipe {
  std::filesystem::path source;
  std::filesystem::path destination;  ///< empty: beside the source
  std::string
      model_name;  ///< of a model that is to be alone: no sidecar files; empty: a directory's
  std::string method = "awq";  ///< a preset
  std::string scaling;         ///< overrides one part of the preset when not empty
  std::string grid;
  std::string rounding;
  std::optional<int> refine;
  std::optional<BiasCorrection> bias_correction;
  std::optional<double> shrinkage;
  std::optional<bool> propagate;
  int bits = 4;
  int64_t group_size = 128;  ///< 0: channel
  bool symmetric = true;
  Precision head = Precision::kHalf;
  Precision embeddings = Precision::kKeep;
  Precision convolutions = Precision::kKeep;
  Precision kv_cache = Precision::kKeep;  ///< of past keys and values; kHalf is not for them
  bool kv_per_channel = true;             ///< their scales
  bool half_floats = false;
  bool half_compute = false;  ///< the graph computes in FP16
  bool half_io = false;       ///< its inputs and outputs are FP16, too
  std::string format = "matmulnbits";
  int accuracy_level = 4;  ///< or kChosenLevel
  /// Dynamic: the form is one that has them so; static: forms that leave it open.
  Activations activations = Activations::kFloat;
  int activation_bits = 8;  ///< of static ones, as their range
  ActivationRange activation_range;
  Layout layout = Layout::kKeep;
  int64_t max_file_size = 0;  ///< bytes of a data file at most; 0: one takes all
  std::vector<std::string> include;
  std::vector<std::string> exclude;
  std::vector<Rule> rules;
  CalibrationOptions calibration;    ///< no files: the set that is installed with the program
  std::filesystem::path statistics;  ///< a file of CollectStatistics, instead of the samples
  std::filesystem::path tokenizer;   ///< directory or tokenizer.json; empty: beside the model
  bool requantize = false;           ///< dequantize weights that are quantized already
  bool from_qat = false;             ///< and take the codes of those that lie on a grid
  bool verify = true;
  std::vector<Gate> gates;          ///< that the result must keep
  std::filesystem::path gate_text;  ///< held-out text that they are measured on
  bool no_fallback = false;         ///< a gate that fails is the end
  /// What tensors get instead of what the recipe says, so that the gates hold; found by runs, and
  /// no part of the request. It stands in front of the rules.
  std::vector<Rule> fallback;
  bool overwrite = false;
  int64_t memory_budget = 0;  ///< bytes; 0: what is useful. Does not change the result
};

/// Whether weights get no codes: the whole model becomes FP16.
[[nodiscard]] bool IsHalfMethod(const Recipe& recipe);
/// Sets what the method brings along besides scales and codes (`int8`: the form, bits, groups,
/// tables, head), but for the keys that are `given`: "bits", "group_size" ….
void TakeMethodDefaults(Recipe& recipe, const std::function<bool(std::string_view key)>& given);
/// Whether the graph computes in FP16.
[[nodiscard]] bool ComputesInHalf(const Recipe& recipe);
/// The method with its overrides. Throws UsageError for unknown names.
[[nodiscard]] Method MethodOf(const Recipe& recipe);
/// Whether the method, or that of a rule, needs calibration.
[[nodiscard]] bool NeedsStatistics(const Recipe& recipe);
/// The method, with a rounding of a rule where that needs more memory.
[[nodiscard]] Method LargestMethodOf(const Recipe& recipe);
/// `codes`: the form that the recipe names; forms and rules are left empty.
[[nodiscard]] PlanOptions PlanOptionsOf(const Recipe& recipe, const Form& codes);
/// What decides the result, for the metadata: no paths, only file names; no thread counts.
[[nodiscard]] nlohmann::ordered_json ToJson(const Recipe& recipe);
/// "keep", "flat", "transformers.js".
[[nodiscard]] std::string LayoutName(Layout layout);
/// "none", "present", "all".
[[nodiscard]] std::string BiasCorrectionName(BiasCorrection bias);
/// "fp16", "int8", "int4", "keep".
[[nodiscard]] std::string PrecisionName(Precision head);

}  // namespace ptq
