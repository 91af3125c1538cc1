// Derives the method, the plan's options and the metadata's recipe from a request.
#include "ptq/plan/recipe.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace ptq {
namespace {

/// Measured on TinyStories-656K, calibrated on an encyclopedia: KL .032 -> .029 (W4 g32) and .192
/// -> .175 (W3 g128).
constexpr double kForeignShrinkage = 0.3;

}  // namespace

bool IsHalfMethod(const Recipe& recipe) { return recipe.method == "fp16"; }

void TakeMethodDefaults(Recipe& recipe, const std::function<bool(std::string_view key)>& given) {
  if (recipe.method != "int8") return;
  const auto set = [&](std::string_view key, auto& field, auto value) {
    if (!given(key)) field = value;
  };
  set("activations", recipe.activations, Activations::kDynamic);
  const bool is_static = recipe.activations == Activations::kStatic;
  set("format", recipe.format, is_static ? "qdq" : "matmulinteger");
  set("bits", recipe.bits, 8);
  set("group_size", recipe.group_size, 0);
  set("symmetric", recipe.symmetric, is_static);
  set("lm_head", recipe.head, Precision::kInt8);
  set("embeddings", recipe.embeddings, Precision::kInt8);
}

bool ComputesInHalf(const Recipe& recipe) { return recipe.half_compute || IsHalfMethod(recipe); }

Method MethodOf(const Recipe& recipe) {
  // Nothing gets codes: what there is of a method asks for nothing.
  Method method = MethodFromPreset(IsHalfMethod(recipe) ? "rtn" : recipe.method);
  if (!recipe.scaling.empty()) method.scaling = recipe.scaling;
  if (!recipe.grid.empty()) method.grid = recipe.grid;
  if (!recipe.rounding.empty()) method.rounding = recipe.rounding;
  method.refine = recipe.refine.value_or(method.refine);
  method.bias = recipe.bias_correction.value_or(method.bias);
  // The installed texts are seldom what the model will see.
  const bool foreign = recipe.calibration.files.empty() && recipe.statistics.empty();
  method.shrinkage = recipe.shrinkage.value_or(foreign ? kForeignShrinkage : 0.0);
  method.propagate = recipe.propagate.value_or(method.propagate);
  if (recipe.activations == Activations::kStatic) method.activation_range = recipe.activation_range;
  return method;
}

bool NeedsStatistics(const Recipe& recipe) {
  const Method method = MethodOf(recipe);
  if (recipe.activations == Activations::kStatic) return true;  // their levels
  if (recipe.accuracy_level == kChosenLevel) return true;
  return NeedsStatistics(method) || std::ranges::any_of(recipe.rules, [&](const Rule& rule) {
           return NeedsStatistics(rule.MethodFrom(method)) || rule.accuracy_level == kChosenLevel;
         });
}

Method LargestMethodOf(const Recipe& recipe) {
  Method method = MethodOf(recipe);
  for (const Rule& rule : recipe.rules) {
    if (method.rounding == "nearest") method.rounding = rule.MethodFrom(method).rounding;
  }
  return method;
}

PlanOptions PlanOptionsOf(const Recipe& recipe, const Form& codes) {
  PlanOptions options;
  options.codes = IsHalfMethod(recipe) ? &HalfForm() : &codes;
  options.parameters.accuracy_level = recipe.accuracy_level;
  options.parameters.activations = recipe.activations;
  options.parameters.activation_bits = recipe.activation_bits;
  options.parameters.spec.bits = recipe.bits;
  options.parameters.spec.group_size = recipe.group_size;
  options.parameters.spec.symmetric = recipe.symmetric;
  options.method = MethodOf(recipe);
  options.head = recipe.head;
  options.embeddings = recipe.embeddings;
  options.convolutions = recipe.convolutions;
  if (recipe.kv_cache != Precision::kKeep) {
    options.caches = {recipe.kv_cache == Precision::kInt4 ? 4 : 8, recipe.kv_per_channel};
  }
  options.half_floats = recipe.half_floats;
  options.half_compute = ComputesInHalf(recipe);
  options.half_io = recipe.half_io;
  options.takes_grids = recipe.from_qat;
  options.include = recipe.include;
  options.exclude = recipe.exclude;
  return options;
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
  json["lm_head"] = PrecisionName(recipe.head);
  // A recipe that leaves tables and convolutions alone reads as it did before there was a choice.
  if (recipe.embeddings != Precision::kKeep) {
    json["embeddings"] = PrecisionName(recipe.embeddings);
  }
  if (recipe.convolutions != Precision::kKeep) {
    json["conv"] = PrecisionName(recipe.convolutions);
  }
  if (recipe.kv_cache != Precision::kKeep) {
    json["kv_cache"] = PrecisionName(recipe.kv_cache);
    json["kv_scales"] = recipe.kv_per_channel ? "per-channel" : "per-tensor";
  }
  json["float"] = recipe.half_floats ? "fp16" : "keep";
  if (ComputesInHalf(recipe)) {
    json["compute"] = "fp16";
    json["io_types"] = recipe.half_io ? "fp16" : "keep";
  }
  json["format"] = recipe.format;
  json["accuracy_level"] = AccuracyLevelJson(recipe.accuracy_level);
  if (recipe.activations == Activations::kStatic) {
    json["activations"] = "static";
    json["activation_bits"] = recipe.activation_bits;
    json["activation_range"] = ActivationRangeName(recipe.activation_range);
  }
  json["layout"] = LayoutName(recipe.layout);
  if (recipe.max_file_size > 0) json["max_file_size"] = recipe.max_file_size;
  json["include"] = recipe.include;
  json["exclude"] = recipe.exclude;
  for (const Rule& rule : recipe.rules) json["rule"].push_back(ToJson(rule));
  json["calib_samples"] = recipe.calibration.samples;
  json["seq_len"] = recipe.calibration.seq_len;
  json["seed"] = recipe.calibration.seed;
  json["requantize"] = recipe.requantize;
  if (recipe.from_qat) json["from_qat"] = true;
  for (const Gate& gate : recipe.gates) json["gate"].push_back(gate.text);
  if (recipe.no_fallback) json["no_fallback"] = true;
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

std::string PrecisionName(Precision head) {
  switch (head) {
    case Precision::kHalf: return "fp16";
    case Precision::kInt8: return "int8";
    case Precision::kInt4: return "int4";
    case Precision::kKeep: return "keep";
  }
  return "";
}

}  // namespace ptq
