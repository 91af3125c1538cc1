#include <iostream>

#include "recipe_options.h"
#include <nlohmann/json.hpp>

#include "ptq/base/memory.h"
#include "ptq/base/parallel.h"
#include "ptq/cli/command.h"
#include "ptq/pipeline/collect.h"

namespace ptq {
namespace {

class StatsCommand : public Command {
 public:
  explicit StatsCommand(CLI::App& app) {
    auto* source =
        app.add_option("--src,src", recipe_.source, "Model: an .onnx file or its directory");
    app.add_option("--out", out_, "File to write; run --stats reads it")->required();
    app.add_option("--merge", merge_, "Add up these files of one model instead of collecting")
        ->excludes(source);
    AddCalibrationOptions(app, recipe_.calibration);
    app.add_option("--tokenizer", recipe_.tokenizer,
                   "tokenizer.json or its directory; default: beside the model");
    AddRequantizeOption(app, recipe_.requantize);
    AddMemoryOption(app, recipe_.memory_budget);
    app.add_flag("--json", json_, "Print JSON instead of text");
  }

  ExitCode Run(const GlobalOptions& global) override {
    const ThreadLimit threads(global.ThreadsOfRank());
    if (merge_.empty() && recipe_.source.empty()) {
      throw UsageError("give --src, the model to collect statistics of, or --merge");
    }
    if (merge_.empty()) {
      Print(CollectStatistics(recipe_, out_, global.ranks));
    } else if (global.ranks.is_root()) {
      Print(MergeStatistics(merge_, out_));
    }
    return ExitCode::kDone;
  }

 private:
  void Print(const CollectReport& report) const {
    if (json_) {
      const nlohmann::ordered_json json = {{"file", report.file.string()},
                                           {"sites", report.sites},
                                           {"samples", report.samples},
                                           {"tokens", report.tokens},
                                           {"bytes", report.bytes},
                                           {"seconds", report.timings.total},
                                           {"peak_resident_bytes", report.peak_bytes}};
      std::cout << json.dump(2) << '\n';
      return;
    }
    std::cout << "written       " << report.file.string() << " (" << FormatBytes(report.bytes)
              << ")\n"
              << "sites         " << report.sites << '\n'
              << "calibration   " << report.samples << " samples, " << report.tokens << " tokens\n"
              << "time          " << FormatSeconds(report.timings.total) << '\n'
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
