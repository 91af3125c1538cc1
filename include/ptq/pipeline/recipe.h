// The user's request after defaults and configuration files are merged.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "ptq/emit/layout.h"
#include "ptq/plan/plan.h"
#include "ptq/quant/method.h"
#include "ptq/text/calibration.h"

namespace ptq {

struct Recipe {
  std::filesystem::path source;
  std::filesystem::path destination;  ///< empty: DefaultDestination
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
  HeadForm head = HeadForm::kHalf;
  bool half_floats = false;
  std::string format = "matmulnbits";
  int accuracy_level = 4;
  Layout layout = Layout::kKeep;
  std::vector<std::string> include;
  std::vector<std::string> exclude;
  CalibrationOptions calibration;    ///< no files: the set that is installed with the program
  std::filesystem::path statistics;  ///< a file of CollectStatistics, instead of the samples
  std::filesystem::path tokenizer;   ///< directory or tokenizer.json; empty: beside the model
  bool requantize = false;           ///< dequantize weights that are quantized already
  bool verify = true;
  bool overwrite = false;
  int64_t memory_budget = 0;  ///< bytes; 0: what is useful. Does not change the result
};

/// The method with its overrides. Throws UsageError for unknown names.
[[nodiscard]] Method MethodOf(const Recipe& recipe);
[[nodiscard]] PlanOptions PlanOptionsOf(const Recipe& recipe);
/// `{source}-awq_w4_g128_headfp16` beside the source; in the working directory, named after the
/// repository, for a source in a Hugging Face cache. Throws UsageError where that is in one, too.
[[nodiscard]] std::filesystem::path DefaultDestination(const Recipe& recipe);
/// What decides the result, for the metadata: no paths, only file names; no thread counts.
[[nodiscard]] nlohmann::ordered_json ToJson(const Recipe& recipe);
/// "keep", "flat", "transformers.js".
[[nodiscard]] std::string LayoutName(Layout layout);
/// "none", "present", "all".
[[nodiscard]] std::string BiasCorrectionName(BiasCorrection bias);
/// "fp16", "int8", "int4", "keep".
[[nodiscard]] std::string HeadFormName(HeadForm head);

}  // namespace ptq
