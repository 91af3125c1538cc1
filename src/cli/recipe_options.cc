#include "recipe_options.h"

#include <map>

#include "choice.h"

#include "ptq/emit/linear_format.h"

namespace ptq {
namespace {

std::string Joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string FormatNames() {
  std::vector<std::string> names;
  for (const LinearFormat* format : LinearFormats()) names.emplace_back(format->name());
  return Joined(names);
}

int64_t ParseGroupSize(const std::string& text) {
  static const std::map<std::string, int64_t> kSizes = {{"16", 16},   {"32", 32},   {"64", 64},
                                                        {"128", 128}, {"256", 256}, {"channel", 0}};
  const auto found = kSizes.find(text);
  if (found == kSizes.end()) {
    throw CLI::ValidationError("--group-size",
                               "'" + text + "' is not 16, 32, 64, 128, 256 or channel");
  }
  return found->second;
}

void AddOutputOptions(CLI::App& app, Recipe& recipe) {
  app.add_option("--bits", recipe.bits,
                 "Bits of a quantized weight; codes of 3 bits are stored in 4")
      ->check(CLI::IsMember({2, 3, 4, 8}))
      ->capture_default_str();
  app.add_option_function<std::string>(
         "--group-size",
         [&recipe](const std::string& text) { recipe.group_size = ParseGroupSize(text); },
         "Weights that share a scale: 16, 32, 64, 128, 256 or channel (a whole row)")
      ->default_str("128");
  app.add_flag("--symmetric,!--asymmetric", recipe.symmetric,
               "Fixed zero point (default), or one zero point for each group");
  app.add_option("--format", recipe.format, "Operators written: " + FormatNames())
      ->capture_default_str();
  app.add_option(
         "--accuracy-level", recipe.accuracy_level,
         "MatMulNBits accuracy_level: 4 computes in int8 (fast), 0 in the activations' type")
      ->check(CLI::Range(0, 4))
      ->capture_default_str();
  AddChoice<Layout>(
      app, "--layout", recipe.layout,
      {{"flat", Layout::kFlat}, {"transformers.js", Layout::kTransformersJs}},
      "flat: model.onnx; transformers.js: onnx/model_q4.onnx (named after the stored bits) and "
      "an entry in config.json");
  AddChoice<HeadForm>(app, "--lm-head", recipe.head,
                      {{"fp16", HeadForm::kHalf},
                       {"int8", HeadForm::kInt8},
                       {"int4", HeadForm::kInt4},
                       {"keep", HeadForm::kKeep}},
                      "The LM head: fp16, int8, int4 or keep");
  app.add_flag_callback(
      "--keep-lm-head-fp16", [&recipe] { recipe.head = HeadForm::kHalf; },
      "The same as --lm-head fp16");
  AddChoice<bool>(app, "--float", recipe.half_floats, {{"keep", false}, {"fp16", true}},
                  "Embeddings and other FP32 constants: keep or fp16");
}

}  // namespace

void AddCalibrationOptions(CLI::App& app, CalibrationOptions& options) {
  app.add_option(
      "--calib", options.file,
      "Calibration data: .txt, .jsonl (text, prompt or messages), .npz or .npy token ids, .npz of "
      "complete inputs, "
      "- for standard input; default: the set installed with the program");
  app.add_option("--calib-samples", options.samples, "Samples to use at most")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seq-len", options.seq_len, "Tokens of a sample at most")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seed", options.seed, "Seed of every random choice")->capture_default_str();
  AddChoice<TextSplit>(app, "--calib-split", options.split,
                       {{"auto", TextSplit::kAuto},
                        {"blank-line", TextSplit::kBlankLine},
                        {"line", TextSplit::kLine},
                        {"document", TextSplit::kDocument}},
                       "What separates the texts of a .txt: auto, blank-line, line or document");
  AddChoice<LongText>(app, "--calib-long", options.long_text,
                      {{"window", LongText::kWindow}, {"truncate", LongText::kTruncate}},
                      "Texts longer than --seq-len: window (cut into samples) or truncate");
}

void AddMemoryOption(CLI::App& app, int64_t& budget) {
  app.add_option(
         "--memory-budget", budget,
         "Most resident memory, such as 3GiB or 900MiB; what does not fit is kept in a file "
         "beside the result, or done in smaller parts")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->check(CLI::PositiveNumber)
      ->option_text("SIZE");
}

void AddRequantizeOption(CLI::App& app, bool& requantize) {
  app.add_flag("--requantize", requantize,
               "Dequantize weights that are quantized already; without it such a model is refused");
}

void AddRecipeOptions(CLI::App& app, Recipe& recipe) {
  app.add_option("--src,src", recipe.source,
                 "Model: an .onnx file, its directory, or a directory of several models")
      ->required();
  app.add_option("--dst,dst", recipe.destination,
                 "Directory to write; default: {source}-{method}_w{bits}_g{group size}_head{form}");
  app.add_option("--method", recipe.method, "Preset: " + Joined(MethodPresetNames()))
      ->capture_default_str();
  app.add_option("--scaling", recipe.scaling, "Overrides the method's scaling");
  app.add_option("--grid", recipe.grid, "Overrides the method's grid");
  app.add_option("--rounding", recipe.rounding, "Overrides the method's rounding");
  app.add_option("--refine", recipe.refine,
                 "Rounds in which scales and codes improve each other; default: the method's")
      ->check(CLI::Range(0, 20));
  AddNames<BiasCorrection>(app, "--bias-correction", recipe.bias_correction,
                           {{"none", BiasCorrection::kNone},
                            {"present", BiasCorrection::kPresent},
                            {"all", BiasCorrection::kAll}},
                           "Biases that make up for the mean error: none, present (of layers that "
                           "have one) or all; default: the method's");
  app.add_option("--shrinkage", recipe.shrinkage,
                 "Least part by which what the samples say of two channels together is "
                 "discounted: more for texts unlike the model's; default: 0.3 for the installed "
                 "set, else 0")
      ->check(CLI::Range(0.0, 1.0));
  app.add_flag_function(
      "--propagate,!--no-propagate", [&recipe](int64_t count) { recipe.propagate = count > 0; },
      "Calibrate each layer on what the quantized ones before it give, and correct its weights for "
      "that; default: the method's");
  AddOutputOptions(app, recipe);
  AddRequantizeOption(app, recipe.requantize);
  app.add_option("--include", recipe.include,
                 "Quantize only linears whose name matches: globs, or /regular expressions/");
  app.add_option("--exclude", recipe.exclude, "Leave linears alone whose name matches");
  AddCalibrationOptions(app, recipe.calibration);
  app.add_option("--stats", recipe.statistics,
                 "Statistics that quantize stats has collected, instead of calibrating")
      ->excludes("--calib");
  app.add_option("--tokenizer", recipe.tokenizer,
                 "tokenizer.json or its directory; default: beside the model");
  app.add_flag("!--no-verify", recipe.verify, "Do not load and run the result once");
  AddMemoryOption(app, recipe.memory_budget);
  app.add_flag("--overwrite", recipe.overwrite, "Replace the destination if it exists");
}

}  // namespace ptq
