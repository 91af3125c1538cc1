// Derives the method, the plan's options, the destination and the metadata's recipe from a request.
#include "ptq/pipeline/recipe.h"

#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/links.h"
#include "ptq/emit/sidecars.h"

namespace ptq {
namespace {

/// Measured on TinyStories-656K, calibrated on an encyclopedia: KL .032 -> .029 (W4 g32) and .192
/// -> .175 (W3 g128).
constexpr double kForeignShrinkage = 0.3;

/// A cache is no place for results: they go to the working directory.
std::string NameOfCached(const CachedRepository& repository) {
  if (FindCachedRepository(std::filesystem::current_path())) {
    throw UsageError("the working directory lies in a cache, in the repository '" + repository.id +
                     "'; give --dst");
  }
  return repository.name();
}

}  // namespace

Method MethodOf(const Recipe& recipe) {
  Method method = MethodFromPreset(recipe.method);
  if (!recipe.scaling.empty()) method.scaling = recipe.scaling;
  if (!recipe.grid.empty()) method.grid = recipe.grid;
  if (!recipe.rounding.empty()) method.rounding = recipe.rounding;
  method.refine = recipe.refine.value_or(method.refine);
  method.bias = recipe.bias_correction.value_or(method.bias);
  // The installed texts are seldom what the model will see.
  const bool foreign = recipe.calibration.files.empty() && recipe.statistics.empty();
  method.shrinkage = recipe.shrinkage.value_or(foreign ? kForeignShrinkage : 0.0);
  method.propagate = recipe.propagate.value_or(method.propagate);
  return method;
}

PlanOptions PlanOptionsOf(const Recipe& recipe) {
  PlanOptions options;
  options.spec.bits = recipe.bits;
  options.spec.group_size = recipe.group_size;
  options.spec.symmetric = recipe.symmetric;
  options.head = recipe.head;
  options.include = recipe.include;
  options.exclude = recipe.exclude;
  return options;
}

std::filesystem::path DefaultDestination(const Recipe& recipe) {
  auto source = std::filesystem::absolute(recipe.source).lexically_normal();
  if (source.filename().empty()) source = source.parent_path();
  std::error_code error;
  const bool is_directory = std::filesystem::is_directory(source, error);
  const bool is_named = !is_directory && source.filename() != "model.onnx";
  // A folder `onnx` is named after what it is a part of.
  auto result = SidecarDirectory(is_directory ? source : source.parent_path());
  if (const auto cached = FindCachedRepository(source)) {
    result = NameOfCached(*cached);
    if (is_named) result += "-" + source.stem().string();
  } else if (is_named) {
    result /= source.stem();
  }
  const std::string group =
      recipe.group_size == 0 ? "channel" : "g" + std::to_string(recipe.group_size);
  result += "-" + recipe.method + "_w" + std::to_string(recipe.bits) + "_" + group;
  if (!recipe.symmetric) result += "_asym";
  if (recipe.head != HeadForm::kKeep) result += "_head" + HeadFormName(recipe.head);
  if (recipe.format != "matmulnbits") result += "_" + recipe.format;
  return result;
}

nlohmann::ordered_json ToJson(const Recipe& recipe) {
  const Method method = MethodOf(recipe);
  nlohmann::ordered_json json;
  json["method"] = recipe.method;
  json["scaling"] = method.scaling;
  json["grid"] = method.grid;
  json["rounding"] = method.rounding;
  json["refine"] = method.refine;
  json["bias_correction"] = BiasCorrectionName(method.bias);
  json["shrinkage"] = method.shrinkage;
  json["propagate"] = method.propagate;
  json["bits"] = recipe.bits;
  json["group_size"] = recipe.group_size;
  json["symmetric"] = recipe.symmetric;
  json["lm_head"] = HeadFormName(recipe.head);
  json["float"] = recipe.half_floats ? "fp16" : "keep";
  json["format"] = recipe.format;
  json["accuracy_level"] = recipe.accuracy_level;
  json["layout"] = LayoutName(recipe.layout);
  json["include"] = recipe.include;
  json["exclude"] = recipe.exclude;
  json["calib_samples"] = recipe.calibration.samples;
  json["seq_len"] = recipe.calibration.seq_len;
  json["seed"] = recipe.calibration.seed;
  json["requantize"] = recipe.requantize;
  return json;
}

std::string LayoutName(Layout layout) {
  switch (layout) {
    case Layout::kKeep: return "keep";
    case Layout::kFlat: return "flat";
    case Layout::kTransformersJs: return "transformers.js";
  }
  return "";
}

std::string BiasCorrectionName(BiasCorrection bias) {
  switch (bias) {
    case BiasCorrection::kNone: return "none";
    case BiasCorrection::kPresent: return "present";
    case BiasCorrection::kAll: return "all";
  }
  return "";
}

std::string HeadFormName(HeadForm head) {
  switch (head) {
    case HeadForm::kHalf: return "fp16";
    case HeadForm::kInt8: return "int8";
    case HeadForm::kInt4: return "int4";
    case HeadForm::kKeep: return "keep";
  }
  return "";
}

}  // namespace ptq
