// quantize run: plans, quantizes and reports one model or a directory of them.
#include "ptq/pipeline/run.h"

#include <iostream>

#include "help/help.h"
#include "json_output.h"
#include "options/ci_options.h"
#include "options/recipe_options.h"
#include "options/values.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "ptq/base/parallel.h"
#include "ptq/cli/command.h"
#include "ptq/emit/linear_form.h"
#include "ptq/flows/make_result.h"
#include "ptq/pipeline/directory.h"
#include "ptq/pipeline/single_file.h"
#include "ptq/report/directory_report.h"
#include "ptq/report/model_card_page.h"
#include "ptq/report/report.h"
#include "ptq/report/run_json.h"
#include "ptq/report/run_report.h"

namespace ptq {
namespace {

class RunCommand : public Command {
 public:
  explicit RunCommand(CLI::App& app) : app_(app) {
    AddRecipeOptions(app, recipe_);
    app.option_defaults()->group("Run control");
    app.add_flag("--dry-run", dry_run_,
                 "Print the plan with sizes and predicted memory, or what the run would "
                 "refuse; write nothing");
    auto* const resume = app.add_flag(
        "--resume", options_.resume,
        "Expect what an interrupted run of the same command has left: it is gone on with in any "
        "case, and this says when there is nothing");
    app.add_flag("--restart", options_.restart, "Give up what an interrupted run has left")
        ->excludes(resume);
    app.add_flag("--force", options_.force,
                 "Make a result again that is up to date: same recipe, source and samples");
    AddReal(app, "--checkpoint-seconds", options_.checkpoint_seconds, {.least = 0},
            "Time between two checkpoints: what an interrupted run can lose")
        ->type_name("SECONDS")
        ->default_str("2");
    AddReportOption(app, report_file_);
    AddCardOptions(app);
    AddCiOptions(app, ci_files_);
    app.option_defaults()->group("Run control");
    app.add_flag("--json", json_, "Print JSON instead of text");
    app.footer(
        "Examples:\n"
        "  quantize run model/ out/                                4 bits, groups of 128\n"
        "  quantize run model.onnx out/ --method best --calib texts.jsonl\n"
        "  quantize run model.onnx out.onnx                        that file and its data\n"
        "  quantize run model/ -o out/ --group-size 32 --exclude '*.o_proj'\n"
        "  quantize run model/ --config out/                       as out/ was made");
  }

  ExitCode Run(const GlobalOptions& global) override {
    const ThreadLimit threads(global.ThreadsOfRank());
    CompleteRecipe(app_, recipe_);
    CheckForms(recipe_);  // needs no model
    if (options_.force) recipe_.overwrite = true;
    SettlePaths(recipe_, global.ranks);
    SettleCard();
    if (global.ranks.is_root()) {
      CheckReportFile(report_file_, FilesRead(), FilesWritten());
      CheckCiFiles(ci_files_, FilesRead());
    }
    if (dry_run_) return Rehearse(global);
    const MadeResult made = Make(global);
    if (!global.ranks.is_root()) return ExitCode::kDone;
    WriteCi(ci_files_, CiDocument(made, recipe_));
    if (!report_file_.empty()) WriteReport(report_file_, ReportOf(made));
    std::visit([&](const auto& report) { Show(report, global); }, made);
    return ExitCode::kDone;
  }

 private:
  using Json = nlohmann::ordered_json;

  /// Who watches is told of failures, too.
  [[nodiscard]] MadeResult Make(const GlobalOptions& global) const {
    try {
      return MakeResult(recipe_, options_, global.ranks);
    } catch (const Error& error) {
      if (!global.ranks.is_root()) throw;
      const auto* const failed = dynamic_cast<const GateFailed*>(&error);
      if (failed != nullptr && !report_file_.empty()) {
        WriteReport(report_file_, ReportOf(*failed, recipe_.destination));
      }
      WriteCi(ci_files_, CiDocument(error, recipe_));
      throw;
    }
  }

  void AddCardOptions(CLI::App& app) {
    auto* const card =
        app.add_option("--model-card", options_.card,
                       "Also write a Hugging Face model card among the files of the result, as "
                       "README.md")
            ->type_name("NAME");
    app.add_option("--model-card-template", card_.template_source,
                   "A template of your own for it (docs/reports.md)")
        ->type_name(kFileType)
        ->needs(card);
  }

  /// The card is a file of the result like the others.
  void SettleCard() {
    if (options_.card.empty()) return;
    const std::filesystem::path name = options_.card;
    if (name != name.filename() || name.extension() != ".md") {
      throw UsageError("--model-card: '" + options_.card +
                       "' is not the name of a Markdown file in the result, such as README.md");
    }
    if (IsSingleFile(recipe_.destination)) {
      throw UsageError("--model-card is a file beside the model; give a directory as --dst");
    }
    card_.source = recipe_.source;
    CheckCard(card_);
    options_.write_card = [this](const auto& result, const Json& metadata) {
      return ModelCard(card_, result, metadata);
    };
  }

  /// What a report must not replace: the models, and what is read besides.
  [[nodiscard]] std::vector<std::filesystem::path> FilesRead() const {
    std::vector<std::filesystem::path> files = ModelFiles(recipe_.source).files;
    const auto& samples = recipe_.calibration.files;
    files.insert(files.end(), samples.begin(), samples.end());
    for (const auto& file : {recipe_.statistics, recipe_.gate_text}) files.push_back(file);
    return files;
  }

  /// The directory that is written, or the files.
  [[nodiscard]] std::vector<std::filesystem::path> FilesWritten() const {
    const std::filesystem::path& destination = recipe_.destination;
    if (!IsSingleFile(destination)) return {destination};
    return {destination, destination.string() + ".data", MetadataOfSingleFile(destination)};
  }

  [[nodiscard]] ExitCode Rehearse(const GlobalOptions& global) const {
    if (!recipe_.gates.empty()) CheckGates(recipe_);
    if (IsOfSeveral(recipe_)) {
      const auto plans = RehearseDirectory(recipe_, options_);
      if (json_) {
        Print(DirectoryPlanJson(plans), nullptr, nullptr);
      } else {
        std::cout << PlansText(plans);
      }
      return ExitCode::kDone;
    }
    const RunReport report = IsSingleFile(recipe_.destination)
                                 ? RehearseToFile(recipe_, options_, global.ranks)
                                 : RehearseRun(recipe_, options_, global.ranks);
    if (!global.ranks.is_root()) return ExitCode::kDone;
    if (json_) {
      Print(RunJson(report, /*done=*/false), SourceJson(recipe_.source), nullptr);
    } else {
      std::cout << PlanText(report);
    }
    return ExitCode::kDone;
  }

  void Show(const RunReport& report, const GlobalOptions& global) const {
    if (json_) {
      const Json metadata = ReadMetadata(report.destination);
      Print(RunJson(report, /*done=*/true), metadata.at("source"), metadata.at("calibration"));
    } else if (!global.quiet) {
      const std::string text = SummaryText(report);
      std::cout << (::isatty(STDOUT_FILENO) != 0 ? FittedSummary(text, HelpWidth()) : text);
    }
  }

  void Show(const DirectoryReport& report, const GlobalOptions& global) const {
    if (json_) {
      Print(DirectoryRunJson(report), nullptr, nullptr);
    } else if (!global.quiet) {
      std::cout << DirectoryText(report);
    }
  }

  /// What stands in front is the request; `calibration`, when it is known, tells where it is from.
  void Print(const Json& result, const Json& source, const Json& calibration) const {
    Json json = {{"dry_run", dry_run_}, {"recipe", ToJson(recipe_)}, {"source", source}};
    json.update(result);
    if (calibration.is_object()) json["calibration"] = calibration;
    PrintJson("run", json);
  }

  const CLI::App& app_;
  Recipe recipe_;
  bool dry_run_ = false;
  RunOptions options_;
  std::filesystem::path report_file_;
  CardRequest card_;
  CiFiles ci_files_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeRunCommand(CLI::App& app) { return std::make_unique<RunCommand>(app); }

}  // namespace ptq
