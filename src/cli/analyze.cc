// quantize analyze: shows where a model is sensitive, and how a result's errors grow.
#include <filesystem>
#include <iostream>

#include "json_output.h"
#include "options/recipe_options.h"
#include "options/values.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"
#include "ptq/cli/command.h"
#include "ptq/flows/analysis.h"
#include "ptq/report/analysis_report.h"
#include "ptq/report/report.h"

namespace ptq {
namespace {

class AnalyzeCommand : public Command {
 public:
  explicit AnalyzeCommand(CLI::App& app) {
    app.option_defaults()->group("Input and output");
    app.add_option("--src,src", request_.recipe.source, "Model: an .onnx file or its directory")
        ->type_name(kModelType)
        ->required();
    app.add_option("--against,--of", request_.result,
                   "A result of it: its layers are compared with the source's, and candidates "
                   "start from the bits that it has")
        ->type_name(kModelType);
    AddCalibrationOptions(app, request_.recipe.calibration);
    app.add_option("--stats", request_.recipe.statistics,
                   "Statistics that quantize stats has collected, instead of collecting them")
        ->type_name(kFileType)
        ->excludes("--calib");
    AddTokenizerOption(app, request_.recipe.tokenizer);
    app.option_defaults()->group("Analysis");
    AddWhole(app, "--bits", request_.recipe.bits, {.least = 2, .most = 8},
             "Width that candidates start from: 2, 3, 4 or 8; of a result each linear's own")
        ->default_str("4");
    AddWhole(app, "--group-size", request_.recipe.group_size, {.least = 0, .most = 1 << 20},
             "Weights that share a scale; 0: a whole row")
        ->default_str("128");
    AddWhole(app, "--top", top_, {.least = 0}, "Rows of each table; 0: all")->default_str("10");
    AddMemoryOption(app, request_.recipe.memory_budget);
    AddReportOption(app, report_file_);
    app.add_flag("--json", json_, "Print JSON instead of text");
    app.footer(
        "Examples:\n"
        "  quantize analyze model/ --calib texts.jsonl\n"
        "  quantize analyze model/ --against out/ --report analysis.html\n"
        "  quantize analyze model/ --stats model.stats --top 0 --json");
  }

  ExitCode Run(const GlobalOptions& global) override {
    const ThreadLimit threads(global.threads);
    if (global.ranks.size() > 1) throw UsageError("analyze is one rank's; leave out mpirun");
    CheckReportFile(report_file_, {request_.recipe.source, request_.recipe.statistics},
                    {request_.result});
    const AnalysisReport report = Analyze(request_, global.ranks);
    const nlohmann::ordered_json found = AnalysisJson(report);
    if (!report_file_.empty()) {
      WriteReport(report_file_, {{"title", TitleOf(request_.recipe.source)},
                                 {"heading", "Analysis"},
                                 {"analysis", found}});
    }
    if (json_) {
      nlohmann::ordered_json json = {{"source", SourceJson(request_.recipe.source)},
                                     {"reference", nullptr}};
      if (!request_.result.empty()) json["reference"] = SourceJson(request_.result);
      json["group_size"] = request_.recipe.group_size;
      json.update(found);
      PrintJson("analyze", json);
    } else {
      std::cout << AnalysisText(report, size_t(top_));
    }
    return ExitCode::kDone;
  }

 private:
  AnalysisRequest request_;
  int64_t top_ = 10;
  std::filesystem::path report_file_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeAnalyzeCommand(CLI::App& app) {
  return std::make_unique<AnalyzeCommand>(app);
}

}  // namespace ptq
