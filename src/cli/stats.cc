// quantize stats: collects what calibration sees once, for many runs, and merges such files.
#include <iostream>

#include "json_output.h"
#include "options/recipe_options.h"
#include "options/values.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "ptq/base/format.h"
#include "ptq/base/parallel.h"
#include "ptq/calibrate/collect.h"
#include "ptq/cli/command.h"
#include "ptq/stats/statistics_file.h"

namespace ptq {
namespace {

class StatsCommand : public Command {
 public:
  explicit StatsCommand(CLI::App& app) {
    app.option_defaults()->group("Input and output");
    auto* source =
        app.add_option("--src,src", recipe_.source, "Model: an .onnx file or its directory")
            ->type_name(kModelType);
    app.add_option("-o,--output,--out", out_, "File to write; run --stats reads it")
        ->type_name(kFileType)
        ->required();
    app.add_option("--merge", merge_, "Add up these files of one model instead of collecting")
        ->type_name(kFileType)
        ->excludes(source);
    AddRequantizeOption(app, recipe_.requantize);
    AddCalibrationOptions(app, recipe_.calibration);
    AddTokenizerOption(app, recipe_.tokenizer);
    AddMemoryOption(app, recipe_.memory_budget);
    app.add_flag("--json", json_, "Print JSON instead of text")->group("Run control");
    app.footer(
        "Examples:\n"
        "  quantize stats model/ --out model.stats --calib texts.jsonl\n"
        "  quantize run model/ out/ --stats model.stats --bits 3");
  }

  ExitCode Run(const GlobalOptions& global) override {
    const ThreadLimit threads(global.ThreadsOfRank());
    if (merge_.empty() && recipe_.source.empty()) {
      throw UsageError("give --src, the model to collect statistics of, or --merge");
    }
    if (merge_.empty()) {
      Print(CollectStatistics(recipe_, out_, global.ranks), global);
    } else if (global.ranks.is_root()) {
      Print(MergeStatistics(merge_, out_), global);
    }
    return ExitCode::kDone;
  }

 private:
  void Print(const CollectReport& report, const GlobalOptions& global) const {
    if (global.quiet && !json_) return;
    if (json_) {
      const bool merged = !merge_.empty();
      const nlohmann::ordered_json json = {
          {"recipe", merged ? nullptr : ToJson(recipe_)},
          {"source", merged ? nullptr : SourceJson(recipe_.source)},
          {"calibration",
           StatisticsFile(report.file).provenance().value("calibration", nlohmann::ordered_json())},
          {"file", report.file.string()},
          {"sites", report.sites},
          {"samples", report.samples},
          {"tokens", report.tokens},
          {"notes", report.notes},
          {"bytes", report.bytes},
          {"seconds", report.timings.total},
          {"peak_resident_bytes", report.peak_bytes}};
      PrintJson("stats", json);
      return;
    }
    std::cout << "written       " << report.file.string() << " (" << FormatBytes(report.bytes)
              << ")\n"
              << "sites         " << report.sites << '\n'
              << "calibration   " << report.samples << " samples, " << report.tokens << " tokens\n";
    for (const std::string& note : report.notes) std::cout << "note          " << note << '\n';
    std::cout << "time          " << FormatSeconds(report.timings.total) << '\n'
              << "peak memory   " << FormatBytes(report.peak_bytes) << '\n';
  }

  Recipe recipe_;
  std::filesystem::path out_;
  std::vector<std::filesystem::path> merge_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeStatsCommand(CLI::App& app) {
  return std::make_unique<StatsCommand>(app);
}

}  // namespace ptq
