#include "ptq/pipeline/run.h"

#include <iostream>

#include "recipe_options.h"
#include <nlohmann/json.hpp>

#include "ptq/base/parallel.h"
#include "ptq/cli/command.h"
#include "ptq/pipeline/directory.h"
#include "ptq/report/directory_report.h"
#include "ptq/report/run_report.h"

namespace ptq {
namespace {

class RunCommand : public Command {
 public:
  explicit RunCommand(CLI::App& app) {
    AddRecipeOptions(app, recipe_);
    app.add_flag("--dry-run", dry_run_,
                 "Print the plan with sizes and predicted memory; write nothing");
    app.add_flag("--resume", options_.resume,
                 "Go on with an interrupted run of the same command, after its last finished part");
    app.add_option("--checkpoint-seconds", options_.checkpoint_seconds,
                   "Time between two checkpoints: what an interrupted run can lose")
        ->check(CLI::NonNegativeNumber)
        ->type_name("SECONDS")
        ->capture_default_str();
    app.add_flag("--json", json_, "Print JSON instead of text");
  }

  ExitCode Run(const GlobalOptions& global) override {
    const ThreadLimit threads(global.ThreadsOfRank());
    const auto files = ModelFiles(recipe_.source);
    if (files.size() > 1) return RunAll(global);
    recipe_.source = files.front();
    if (dry_run_) {
      const RunReport report = PlanRun(recipe_);
      std::cout << (json_ ? PlanJson(report).dump(2) + "\n" : PlanText(report));
    } else {
      const RunReport report = ptq::Run(recipe_, options_, global.ranks);
      std::cout << (json_ ? SummaryJson(report).dump(2) + "\n" : SummaryText(report));
    }
    return ExitCode::kDone;
  }

 private:
  /// A directory of several models.
  ExitCode RunAll(const GlobalOptions& global) {
    if (global.ranks.size() > 1) {
      throw UsageError("several ranks share the work of one model; give one of the files in '" +
                       recipe_.source.string() + "'");
    }
    if (dry_run_) {
      const auto plans = PlanDirectory(recipe_);
      std::cout << (json_ ? PlansJson(plans).dump(2) + "\n" : PlansText(plans));
    } else {
      const DirectoryReport report = RunDirectory(recipe_, options_);
      std::cout << (json_ ? DirectoryJson(report).dump(2) + "\n" : DirectoryText(report));
    }
    return ExitCode::kDone;
  }

  Recipe recipe_;
  bool dry_run_ = false;
  RunOptions options_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeRunCommand(CLI::App& app) { return std::make_unique<RunCommand>(app); }

}  // namespace ptq
