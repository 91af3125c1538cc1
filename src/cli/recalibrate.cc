// quantize recalibrate: makes a result again for other texts, when they differ enough.
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "json_output.h"
#include "options/recipe_options.h"
#include "options/recipe_words.h"
#include "options/values.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "ptq/base/parallel.h"
#include "ptq/cli/command.h"
#include "ptq/flows/recalibration.h"
#include "ptq/pipeline/single_file.h"
#include "ptq/report/directory_report.h"
#include "ptq/report/recalibration_report.h"
#include "ptq/report/run_report.h"

namespace ptq {
namespace {

/// Options of run that say what a result is made for; everything else is as it was.
constexpr const char* kNewWords[] = {"calib",     "calib-samples", "seq-len",
                                     "seed",      "calib-split",   "calib-long",
                                     "tokenizer", "memory-budget", "gate-text"};

class RecalibrateCommand : public Command {
 public:
  explicit RecalibrateCommand(CLI::App& app) : app_(app) {
    app.option_defaults()->group("Input and output");
    app.add_option("result", request_.result, "A result of run: a directory or an .onnx file")
        ->type_name(kModelType)
        ->required();
    app.add_option("--src", source_, "The model that it was made of")
        ->type_name(kModelType)
        ->required();
    app.add_option("-o,--output,--dst", destination_, "Where the new result goes")
        ->type_name(kDirectoryType)
        ->default_str("in its place");
    AddCalibrationOptions(app, unused_.calibration);
    AddTokenizerOption(app, unused_.tokenizer);
    app.add_option("--gate-text", unused_.gate_text, "Of a result with gates: the held-out text")
        ->type_name(kFileType);
    app.option_defaults()->group("Drift");
    auto* const stats = app.add_option("--stats-before", request_.statistics_before,
                                       "Statistics (quantize stats) of the samples that the result "
                                       "was made for")
                            ->type_name(kFileType);
    app.add_option("--calib-before", request_.samples_before, "Those samples")
        ->type_name(kFileType)
        ->allow_extra_args(false)
        ->excludes(stats)
        ->default_str("the texts installed with the program, where it was made for them");
    AddReal(app, "--if-drift", if_drift_, {.least = 0},
            "Make a new result only when the old codes lose so much more on the new texts than new "
            "ones would: 0.1 is a tenth");
    AddMemoryOption(app, unused_.memory_budget);
    app.option_defaults()->group("Run control");
    app.add_flag("--dry-run", request_.dry_run, "Measure the drift; make nothing");
    app.add_flag("--json", json_, "Print JSON instead of text");
    app.footer(
        "Examples:\n"
        "  quantize recalibrate out/ --src model/ --calib this-week.jsonl --if-drift 0.1\n"
        "  quantize recalibrate out/ --src model/ --calib new.jsonl --calib-before old.jsonl");
  }

  ExitCode Run(const GlobalOptions& global) override {
    const ThreadLimit threads(global.threads);
    request_.if_drift = if_drift_;
    request_.recipe = ParseRecipe(Words());
    const RecalibrationReport report = Recalibrate(request_);
    if (json_) {
      nlohmann::ordered_json json = DriftJson(report);
      json["destination"] = report.made.has_value()
                                ? nlohmann::ordered_json(request_.recipe.destination.string())
                                : nlohmann::ordered_json(nullptr);
      PrintJson("recalibrate", json);
    } else if (!global.quiet) {
      std::cout << DriftText(report);
      if (report.made.has_value()) {
        std::visit([](const auto& made) { std::cout << TextOf(made); }, *report.made);
      } else {
        std::cout << "made          nothing: "
                  << (report.needed ? "--dry-run" : "the drift is not above --if-drift") << '\n';
      }
    }
    return ExitCode::kDone;
  }

 private:
  static std::string TextOf(const RunReport& report) { return SummaryText(report); }
  static std::string TextOf(const DirectoryReport& report) { return DirectoryText(report); }

  /// The recipe of the result, with what was given.
  [[nodiscard]] std::vector<std::string> Words() const {
    std::error_code error;
    const std::filesystem::path recipe = std::filesystem::is_directory(request_.result, error)
                                             ? request_.result
                                             : MetadataOfSingleFile(request_.result);
    std::vector<std::string> words = {"--config=" + recipe.string(), "--src=" + source_.string(),
                                      "--overwrite=true"};
    words.push_back("--dst=" + (destination_.empty() ? request_.result : destination_).string());
    for (const std::string& word : GivenWords(app_)) {
      const std::string name = word.substr(2, word.find('=') - 2);
      for (const char* const own : kNewWords) {
        if (name == own) words.push_back(word);
      }
    }
    return words;
  }

  const CLI::App& app_;
  RecalibrationRequest request_;
  std::filesystem::path source_;
  std::filesystem::path destination_;
  Recipe unused_;  ///< the recipe is made of words
  std::optional<double> if_drift_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeRecalibrateCommand(CLI::App& app) {
  return std::make_unique<RecalibrateCommand>(app);
}

}  // namespace ptq
