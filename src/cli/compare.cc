// quantize compare: two results or models side by side.
#include <iostream>

#include "json_output.h"
#include "options/recipe_options.h"
#include "options/values.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "ptq/base/parallel.h"
#include "ptq/cli/command.h"
#include "ptq/flows/comparison.h"
#include "ptq/report/comparison_report.h"
#include "ptq/report/report.h"

namespace ptq {
namespace {

class CompareCommand : public Command {
 public:
  explicit CompareCommand(CLI::App& app) {
    app.option_defaults()->group("Input");
    app.add_option("a", request_.sides[0],
                   "A result of run, its metadata file, or a model: an .onnx file or its directory")
        ->type_name(kModelType)
        ->required();
    app.add_option("b", request_.sides[1], "What it is compared with")
        ->type_name(kModelType)
        ->required();
    auto* const text =
        app.add_option("--text", request_.text, "Text to measure both on, as quantize eval does")
            ->type_name(kFileType);
    app.add_option("--against", request_.reference,
                   "Model that both are measured beside; without it B beside A")
        ->type_name(kModelType)
        ->needs(text);
    AddTokenizerOption(app, request_.tokenizer);
    app.option_defaults()->group("Output");
    AddChoice<ComparisonOrder>(app, "--sort", list_.order,
                               {{"file", ComparisonOrder::kFile},
                                {"loss", ComparisonOrder::kLoss},
                                {"bytes", ComparisonOrder::kBytes}},
                               "Order of the tensors: as in the file, or the largest change of the "
                               "output error or of the size first");
    AddWhole(app, "--top", list_.top, {.least = 1}, "List so many tensors at most");
    app.add_flag("--all", list_.all, "List tensors that are the same, too");
    AddReportOption(app, report_file_);
    app.add_flag("--json", json_, "Print JSON instead of text");
    app.footer(
        "Examples:\n"
        "  quantize compare out-a/ out-b/ --sort loss --top 10\n"
        "  quantize compare model/ out/\n"
        "  quantize compare out-a/ out-b/ --text held-out.txt --against model/");
  }

  ExitCode Run(const GlobalOptions& global) override {
    const ThreadLimit threads(global.threads);
    CheckReportFile(report_file_, {request_.sides[0], request_.sides[1], request_.text}, {});
    const Comparison comparison = CompareModels(request_);
    if (!report_file_.empty()) WriteReport(report_file_, ReportOf(comparison));
    if (json_) {
      PrintJson("compare", ComparisonJson(comparison, list_));
    } else {
      std::cout << ComparisonText(comparison, list_);
    }
    return ExitCode::kDone;
  }

 private:
  ComparisonRequest request_;
  ComparisonList list_;
  std::filesystem::path report_file_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeCompareCommand(CLI::App& app) {
  return std::make_unique<CompareCommand>(app);
}

}  // namespace ptq
