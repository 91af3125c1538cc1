// Binds each option to the field of the Recipe that it fills, group by group.
#include "recipe_options.h"

#include <algorithm>
#include <string>
#include <vector>

#include "rule_option.h"
#include "values.h"

#include "ptq/base/error.h"
#include "ptq/emit/linear_form.h"
#include "ptq/quant/form.h"
#include "ptq/quant/method_names.h"

namespace ptq {
namespace {

/// Where large tensors begin; and the more files, the slower a model is fetched.
constexpr int64_t kSmallestFileSize = int64_t{64} << 10;
/// Sums of two products of such signed codes fit into 16 bits: no processor saturates.
constexpr int kReducedBits = 7;

std::vector<std::string> FormatNames() {
  std::vector<std::string> names;
  for (const LinearForm* format : LinearForms()) names.emplace_back(format->name());
  return names;
}

/// Patterns are checked when they are read, before any model is.
void AddPatterns(CLI::App& app, const std::string& option, std::vector<std::string>& target,
                 const std::string& description) {
  app.add_option_function<std::vector<std::string>>(
         option,
         [&target](const std::vector<std::string>& patterns) {
           for (const std::string& pattern : patterns) CheckPattern(pattern);
           target = patterns;
         },
         description)
      ->type_name("PATTERN");
}

/// In a file, 0 is what a recipe calls a whole row.
void AddGroupSize(CLI::App& app, int64_t& target) {
  static const std::vector<std::string> kNames = {"16", "32", "64", "128", "256", "channel"};
  static constexpr int64_t kSizes[] = {16, 32, 64, 128, 256, 0};
  app.add_option_function<std::string>(
         "--group-size",
         [&target](const std::string& text) {
           target = text == "0" ? 0 : kSizes[FindName(text, kNames)];
         },
         "Weights that share a scale; channel: a whole row")
      ->type_name(CLI::detail::join(kNames, "|"))
      ->default_str("128");
}

/// What ONNX Runtime's own quantizer calls them.
void AddOtherSpellings(CLI::App& app, Recipe& recipe) {
  AddNames<bool>(app, "--weights", recipe.symmetric, {{"u8", false}, {"s8", true}},
                 "Type of weights of 8 bits: u8, the same as --asymmetric, or s8, as --symmetric")
      ->default_str("s8; u8 with --method int8")
      ->excludes("--symmetric");
  app.add_flag_callback(
         "--reduce-range", [&recipe] { recipe.bits = kReducedBits; }, "The same as --bits 7")
      ->excludes("--bits");
}

void AddMethodOptions(CLI::App& app, Recipe& recipe) {
  constexpr char kMethods[] = "the method's";
  app.option_defaults()->group("Method");
  std::vector<std::string> methods = MethodPresetNames();
  methods.emplace_back("fp16");
  AddName(
      app, "--method", recipe.method, methods,
      "How scales and codes are found: a preset of the choices below; fp16: no codes, the whole "
      "graph in FP16");
  AddNames<int>(app, "--bits", recipe.bits, {{"2", 2}, {"3", 3}, {"4", 4}, {"7", 7}, {"8", 8}},
                "Bits of a quantized weight; codes of 3 bits are stored in 4, of 7 in 8")
      ->default_str("4");
  AddGroupSize(app, recipe.group_size);
  app.add_flag("--symmetric,!--asymmetric", recipe.symmetric,
               "Fixed zero point (default), or one zero point for each group");
  AddOtherSpellings(app, recipe);
  AddPatterns(app, "--include", recipe.include,
              "Quantize only linears whose name, or whose ONNX node's name, matches: globs, or "
              "/regular expressions/");
  AddPatterns(app, "--exclude", recipe.exclude,
              "Leave linears alone whose name, or whose ONNX node's name, matches");
  AddRules(app, recipe.rules);
  AddName(app, "--scaling", recipe.scaling, ScalingNames(), "Scaling of channels")
      ->default_str(kMethods);
  AddName(app, "--grid", recipe.grid, GridNames(), "Scales and zero points of groups")
      ->default_str(kMethods);
  AddName(app, "--rounding", recipe.rounding, RoundingNames(), "Choice of codes")
      ->default_str(kMethods);
  AddWhole(app, "--refine", recipe.refine, {.least = 0, .most = 20},
           "Rounds in which scales and codes improve each other, 0 to 20")
      ->default_str(kMethods);
  AddNames<BiasCorrection>(app, "--bias-correction", recipe.bias_correction,
                           {{"none", BiasCorrection::kNone},
                            {"present", BiasCorrection::kPresent},
                            {"all", BiasCorrection::kAll}},
                           "Biases that make up for the mean error: none, those of layers that "
                           "have one, or one for every layer")
      ->default_str(kMethods);
  AddReal(app, "--shrinkage", recipe.shrinkage, {.least = 0, .most = 1},
          "Least part, 0 to 1, by which what the samples say of two channels together is "
          "discounted: more for texts unlike the model's")
      ->default_str("0.3 for the installed texts, else 0");
  app.add_flag_function(
      "--propagate,!--no-propagate", [&recipe](int64_t count) { recipe.propagate = count > 0; },
      "Calibrate each layer on what the quantized ones before it give, and correct its weights for "
      "that, or not; else as the method does");
  AddRequantizeOption(app, recipe.requantize);
  app.add_flag("--from-qat", recipe.from_qat,
               "Take the codes of linears whose weights lie on a grid already, as after training "
               "with fake quantization: no calibration, nothing lost; the others are quantized");
}

void AddCacheOptions(CLI::App& app, Recipe& recipe) {
  AddChoice<Precision>(
      app, "--kv-cache", recipe.kv_cache,
      {{"keep", Precision::kKeep}, {"int8", Precision::kInt8}, {"int4", Precision::kInt4}},
      "Form of past keys and values that the model is given back, with scales from the samples");
  AddChoice<bool>(app, "--kv-scales", recipe.kv_per_channel,
                  {{"per-channel", true}, {"per-tensor", false}},
                  "Scales of a quantized cache: one for each channel of each head, or one");
}

/// A rule, of percentiles with a number behind it.
ActivationRange ParseActivationRange(const std::string& text) {
  const size_t colon = text.find(':');
  ActivationRange range;
  range.rule =
      static_cast<ActivationRange::Rule>(FindName(text.substr(0, colon), ActivationRangeNames()));
  if (colon == std::string::npos) return range;
  if (range.rule != ActivationRange::Rule::kPercentile) {
    throw BadValue(Quoted(text) +
                   ": only percentile has a number behind it, as in "
                   "percentile:99.99");
  }
  range.percentile = ParseReal(text.substr(colon + 1), {.least = 50, .most = 100});
  return range;
}

void AddActivationOptions(CLI::App& app, Recipe& recipe) {
  AddNames<Activations>(app, "--activations", recipe.activations,
                        {{"float", Activations::kFloat},
                         {"dynamic", Activations::kDynamic},
                         {"static", Activations::kStatic}},
                        "What linears multiply: floats, 8-bit codes of levels that each run finds "
                        "(matmulinteger), or codes of levels that calibration finds (qdq)")
      ->default_str("float; dynamic with --method int8");
  AddNames<int>(app, "--activation-bits", recipe.activation_bits, {{"8", 8}, {"16", 16}},
                "Bits of static activations: 16 for NPUs, for CPUs have no such products")
      ->default_str("8");
  app.add_option_function<std::string>(
         "--activation-range",
         [&recipe](const std::string& text) {
           recipe.activation_range = ParseActivationRange(text);
         },
         "Where the levels of static activations end: at the extremes, at a percentile of what was "
         "seen (percentile:99.999), where products lose least, or where the distribution changes "
         "least")
      ->type_name(CLI::detail::join(ActivationRangeNames(), "|"))
      ->default_str(ActivationRangeName(recipe.activation_range));
}

void AddGateOptions(CLI::App& app, Recipe& recipe) {
  app.option_defaults()->group("Quality gates");
  auto* const gate =
      app.add_option_function<std::vector<std::string>>(
             "--gate",
             [&recipe](const std::vector<std::string>& texts) {
               recipe.gates.clear();
               for (const std::string& text : texts) recipe.gates.push_back(ParseGate(text));
             },
             "What the result must keep on held-out text, measured beside the source: a figure of "
             "quantize eval with <= or >= and a number, or one with x, times what the source has: "
             "'ppl<=1.06x'. Where it fails, what costs most gets 8 bits, then FP16")
          ->type_name("GATE")
          ->allow_extra_args(false);
  app.add_option("--gate-text", recipe.gate_text, "The held-out text, as quantize eval reads it")
      ->type_name(kFileType)
      ->needs(gate);
  app.add_flag("--no-fallback", recipe.no_fallback,
               "When a gate fails, write nothing and end with status 7")
      ->needs(gate);
}

void AddOutputOptions(CLI::App& app, Recipe& recipe) {
  app.option_defaults()->group("Output");
  AddName(app, "--format,--form", recipe.format, FormatNames(), "Operators written");
  AddChoice<Precision>(app, "--lm-head", recipe.head,
                       {{"fp16", Precision::kHalf},
                        {"int8", Precision::kInt8},
                        {"int4", Precision::kInt4},
                        {"keep", Precision::kKeep}},
                       "Form of the LM head");
  app.add_flag_callback(
      "--keep-lm-head-fp16", [&recipe] { recipe.head = Precision::kHalf; },
      "The same as --lm-head fp16");
  AddChoice<Precision>(app, "--embeddings", recipe.embeddings,
                       {{"keep", Precision::kKeep},
                        {"fp16", Precision::kHalf},
                        {"int8", Precision::kInt8},
                        {"int4", Precision::kInt4}},
                       "Form of tables of which rows are looked up");
  AddChoice<Precision>(
      app, "--conv", recipe.convolutions,
      {{"keep", Precision::kKeep}, {"fp16", Precision::kHalf}, {"int8", Precision::kInt8}},
      "Form of the filters of convolutions, which runtimes make floats of when "
      "they load the model");
  AddCacheOptions(app, recipe);
  AddChoice<bool>(app, "--float", recipe.half_floats, {{"keep", false}, {"fp16", true}},
                  "Embeddings and other FP32 constants");
  AddChoice<bool>(app, "--compute", recipe.half_compute, {{"keep", false}, {"fp16", true}},
                  "Type that the graph computes in: with fp16, what is not quantized becomes FP16, "
                  "too, as it does with --method fp16");
  AddChoice<bool>(app, "--io-types", recipe.half_io, {{"keep", false}, {"fp16", true}},
                  "Float inputs and outputs of a graph that computes in FP16, caches included");
  AddActivationOptions(app, recipe);
  AddNames<int>(
      app, "--accuracy-level", recipe.accuracy_level, AccuracyLevels(),
      "MatMulNBits accuracy_level: 4 computes in int8 (fast), 0 in the activations' type; "
      "auto: 4, but 0 where calibration finds that rounding costs most, for a tenth more "
      "time at most")
      ->default_str("4");
  AddChoice<Layout>(
      app, "--layout", recipe.layout,
      {{"keep", Layout::kKeep},
       {"flat", Layout::kFlat},
       {"transformers.js", Layout::kTransformersJs}},
      "keep: model.onnx, in onnx/ if the source has it there; flat: never in onnx/; "
      "transformers.js: onnx/model_q4.onnx (named after the stored bits) and an entry in "
      "config.json");
  AddSize(app, "--max-file-size", recipe.max_file_size,
          "Most bytes of a data file, such as 1GiB, for browsers: what is more goes into "
          "model.onnx.data_1 and so on",
          kSmallestFileSize)
      ->default_str("one data file");
  app.add_flag("!--no-verify", recipe.verify, "Do not load and run the result once");
  app.add_flag("--overwrite", recipe.overwrite, "Replace the destination if it exists");
}

}  // namespace

void AddCalibrationOptions(CLI::App& app, CalibrationOptions& options) {
  app.option_defaults()->group("Calibration");
  app.add_option(
         "--calib", options.files,
         "Calibration data, told apart by content: text, JSON, .csv, .tsv, each also as .gz "
         "or .zst; .parquet; .npz or .npy token ids, .npz of complete inputs; - for standard "
         "input. A quoted pattern stands for several files, FILE:KEY says where the texts "
         "are. Several share the samples evenly")
      ->type_name(kFileType)
      ->allow_extra_args(false)
      ->default_str("the texts installed with the program");
  AddWhole(app, "--calib-samples", options.samples, {.least = 1}, "Samples to use at most")
      ->default_str("128");
  AddWhole(app, "--seq-len", options.seq_len, {.least = 1}, "Tokens of a sample at most")
      ->default_str("512");
  AddSeedOption(app, options.seed);
  AddChoice<TextSplit>(app, "--calib-split", options.split,
                       {{"auto", TextSplit::kAuto},
                        {"blank-line", TextSplit::kBlankLine},
                        {"line", TextSplit::kLine},
                        {"document", TextSplit::kDocument}},
                       "What separates the texts of a .txt");
  AddChoice<LongText>(app, "--calib-long", options.long_text,
                      {{"window", LongText::kWindow}, {"truncate", LongText::kTruncate}},
                      "Texts longer than --seq-len: cut into samples, or cut off");
}

void AddSeedOption(CLI::App& app, uint64_t& seed) {
  AddWhole(app, "--seed", seed, {.least = 0, .most = std::numeric_limits<int64_t>::max()},
           "Seed of every random choice")
      ->default_str("13");
}

void AddTokenizerOption(CLI::App& app, std::filesystem::path& tokenizer) {
  app.add_option("--tokenizer", tokenizer, "tokenizer.json or its directory")
      ->type_name(kFileType)
      ->default_str("beside the model");
}

void AddReportOption(CLI::App& app, std::filesystem::path& file) {
  app.add_option("--report", file,
                 "Also write an HTML page that shows what was done and measured, to be opened in "
                 "any browser")
      ->type_name(kFileType);
}

void AddMemoryOption(CLI::App& app, int64_t& budget) {
  AddSize(app, "--memory-budget", budget,
          "Most resident memory, such as 3GiB or 900MiB; what does not fit is kept in a file "
          "beside the result, or done in smaller parts")
      ->group("Run control");
}

void AddRequantizeOption(CLI::App& app, bool& requantize) {
  app.add_flag("--requantize", requantize,
               "Dequantize weights that are quantized already; without it such a model is refused");
}

void AddConfigOption(CLI::App& app) {
  app.add_option("--config",
                 "Take options from a recipe file, .toml or .json, from the metadata of a result "
                 "(its directory will do), or from a recipe inside the program, by its name "
                 "(quantize recipes)")
      ->type_name(kRecipeType);
}

void CompleteRecipe(const CLI::App& app, Recipe& recipe) {
  const auto given = [&](const std::string& option) { return app.get_option(option)->count() > 0; };
  TakeMethodDefaults(recipe, [&](std::string_view key) {
    std::string option = "--" + std::string(key);
    std::ranges::replace(option, '_', '-');
    return given(option) || (option == "--symmetric" && given("--weights")) ||
           (option == "--bits" && given("--reduce-range"));
  });
  if (given("--weights") && recipe.bits < kReducedBits) {
    throw UsageError("--weights names types of 8 bits, and the weights have " +
                     std::to_string(recipe.bits) + ": did you mean " +
                     (recipe.symmetric ? "--symmetric?" : "--asymmetric?"));
  }
}

void AddRecipeOptions(CLI::App& app, Recipe& recipe) {
  app.option_defaults()->group("Input");
  app.add_option("--src,src", recipe.source,
                 "Model: an .onnx file, its directory, or a directory of several models")
      ->type_name(kModelType)
      ->required();
  app.add_option("-o,--output,--dst,dst", recipe.destination, "Directory to write")
      ->type_name(kDirectoryType)
      ->group("Output")
      ->default_str("{source}-{method}_w{bits}_g{group size}_head{form}");
  AddRecipeSettings(app, recipe);
}

void AddRecipeSettings(CLI::App& app, Recipe& recipe) {
  AddMethodOptions(app, recipe);
  AddCalibrationOptions(app, recipe.calibration);
  app.add_option("--stats", recipe.statistics,
                 "Statistics that quantize stats has collected, instead of calibrating")
      ->type_name(kFileType)
      ->excludes("--calib");
  AddTokenizerOption(app, recipe.tokenizer);
  AddGateOptions(app, recipe);
  AddOutputOptions(app, recipe);
  AddMemoryOption(app, recipe.memory_budget);
}

}  // namespace ptq
