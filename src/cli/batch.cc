// quantize batch: many models and recipes, in one process or in shards of an array job.
#include "ptq/flows/batch.h"

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "json_output.h"
#include "options/batch_manifest.h"
#include "options/ci_options.h"
#include "options/recipe_options.h"
#include "options/recipe_words.h"
#include "options/values.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
#include "ptq/base/parallel.h"
#include "ptq/cli/command.h"
#include "ptq/flows/find_models.h"
#include "ptq/report/batch_report.h"
#include "ptq/report/report.h"

namespace ptq {
namespace {

constexpr char kShardExample[] = "; write I/N, as in 0/4 to 3/4";

/// "2/4". Those who count from 1 write 4/4 where others write 0/4.
Shard ParseShard(const std::string& text) {
  const size_t slash = text.find('/');
  if (slash == std::string::npos) throw BadValue(Quoted(text) + " is no shard" + kShardExample);
  Shard shard;
  try {
    shard.count = ParseWhole(text.substr(slash + 1), {.least = 1, .most = 100000});
    shard.index = ParseWhole(text.substr(0, slash), {.least = 0, .most = shard.count});
  } catch (const BadValue&) {
    throw BadValue(Quoted(text) + " is no shard" + kShardExample);
  }
  shard.index %= shard.count;
  return shard;
}

int64_t WholeOf(const char* variable, const std::string& value) {
  try {
    return ParseWhole(value, {});
  } catch (const BadValue&) {
    throw UsageError(std::string("the environment's ") + variable + ", " + Quoted(value) +
                     ", is no number; give --shard");
  }
}

std::string Environment(const char* variable) {
  const char* const value = std::getenv(variable);
  return value == nullptr ? "" : value;
}

/// What the scheduler of an array job says, if one does. `count`: shards of a scheduler that only
/// numbers its tasks; 0: not given.
Shard ShardOfEnvironment(int64_t count) {
  const std::string slurm = Environment("SLURM_ARRAY_TASK_ID");
  const std::string index = Environment("JOB_COMPLETION_INDEX");
  Shard shard;
  if (!slurm.empty()) {
    const std::string tasks = Environment("SLURM_ARRAY_TASK_COUNT");
    const std::string least = Environment("SLURM_ARRAY_TASK_MIN");
    shard.from = "SLURM_ARRAY_TASK_ID";
    shard.count = count > 0 ? count : WholeOf("SLURM_ARRAY_TASK_COUNT", tasks);
    shard.index = WholeOf("SLURM_ARRAY_TASK_ID", slurm) -
                  (least.empty() ? 0 : WholeOf("SLURM_ARRAY_TASK_MIN", least));
  } else if (!index.empty()) {
    shard.from = "JOB_COMPLETION_INDEX";
    if (count == 0) {
      throw UsageError(
          "JOB_COMPLETION_INDEX is set, and nothing says how many completions there are; give "
          "--shards N");
    }
    shard.count = count;
    shard.index = WholeOf("JOB_COMPLETION_INDEX", index);
  } else if (count > 1) {
    throw UsageError(
        "--shards needs the number of this one from the environment (SLURM_ARRAY_TASK_ID or "
        "JOB_COMPLETION_INDEX); or give --shard I/N");
  }
  if (shard.count < 1) throw UsageError(shard.from + " is set without a number of tasks");
  shard.index %= shard.count;
  return shard;
}

class BatchCommand : public Command {
 public:
  explicit BatchCommand(CLI::App& app) : app_(app) {
    app.option_defaults()->group("Input and output");
    app.add_option("--src,src", sources_,
                   "Models, directories that are searched for models, or a manifest: a .toml or "
                   ".json file with [[job]] tables")
        ->type_name(kModelType)
        ->required();
    app.add_option("-o,--output,--dst", request_.directory, "Directory of the results")
        ->type_name(kDirectoryType)
        ->required();
    app.add_option("--recipe", recipes_,
                   "A recipe file, or the name of one inside the program; several: each model "
                   "with each of them. Other options of run stand over what it says")
        ->type_name(kRecipeType)
        ->allow_extra_args(false);
    app.add_option("--name", name_,
                   "What results are called: a template with {base}, {recipe}, {method}, {bits}, "
                   "{group}, {head}, {form}")
        ->type_name("TEMPLATE")
        ->default_str(name_);
    AddControl(app);
    AddRecipeSettings(app, unused_);
    app.footer(
        "Examples:\n"
        "  quantize batch models/ -o out/                        every model below models/\n"
        "  quantize batch models/ -o out/ --recipe laptop --recipe web --name '{base}-{recipe}'\n"
        "  quantize batch jobs.toml -o out/ --jobs 2 --memory-budget 12GiB\n"
        "  quantize batch models/ -o out/ --shard 0/4            a fourth of them");
  }

  ExitCode Run(const GlobalOptions& global) override {
    request_.threads = global.threads;
    request_.memory_budget = unused_.memory_budget;
    request_.shard = shard_.has_value() ? *shard_ : ShardOfEnvironment(shards_);
    if (!request_.shard.from.empty()) {
      spdlog::info("shard " + std::to_string(request_.shard.index) + " of " +
                   std::to_string(request_.shard.count) + ", by " + request_.shard.from);
    }
    request_.jobs = ExpandJobs(Models(), recipes_, Words(), name_);
    CheckReportFile(report_file_, sources_, ResultsOf(request_));
    CheckCiFiles(ci_files_, sources_);
    const BatchReport report = RunBatch(request_);
    if (!request_.dry_run) WriteCi(ci_files_, CiDocument(report));
    if (!report_file_.empty() && !request_.dry_run) WriteReport(report_file_, ReportOf(report));
    if (json_) {
      PrintJson("batch", BatchJson(report));
    } else if (!global.quiet || request_.dry_run) {
      std::cout << BatchText(report);
    }
    return report.Count(JobState::kFailed) > 0 ? FirstFailure(report) : ExitCode::kDone;
  }

 private:
  void AddControl(CLI::App& app) {
    app.option_defaults()->group("Run control");
    AddWhole(app, "--jobs", request_.at_once, {.least = 1, .most = 1024},
             "Models at work at a time; they share --threads and --memory-budget")
        ->default_str("1");
    auto* const shard =
        app.add_option_function<std::string>(
               "--shard", [this](const std::string& text) { shard_ = ParseShard(text); },
               "Do one of N parts of the jobs: 0/4 to 3/4. In an array job the scheduler says "
               "which (SLURM_ARRAY_TASK_ID)")
            ->type_name("I/N");
    AddWhole(app, "--shards", shards_, {.least = 1},
             "Parts, where the scheduler only numbers them (JOB_COMPLETION_INDEX)")
        ->excludes(shard);
    app.add_flag("--force", request_.force, "Make results again that are up to date");
    app.add_flag("--dry-run", request_.dry_run, "List the jobs; do nothing");
    AddReportOption(app, report_file_);
    AddCiOptions(app, ci_files_);
    app.option_defaults()->group("Run control");
    app.add_flag("--json", json_, "Print JSON instead of text");
  }

  /// Each job's directory; beside these a report may lie.
  static std::vector<std::filesystem::path> ResultsOf(const BatchRequest& request) {
    std::vector<std::filesystem::path> results;
    for (const BatchJob& job : request.jobs) results.push_back(request.directory / job.id);
    return results;
  }

  /// What every job's run is told. Only results of earlier runs are ever replaced.
  [[nodiscard]] std::vector<std::string> Words() const {
    std::vector<std::string> words = GivenWords(app_);
    std::erase_if(words, [](const std::string& word) {
      return word.starts_with("--memory-budget=") || word.starts_with("--overwrite=");
    });
    words.emplace_back("--overwrite=true");
    return words;
  }

  [[nodiscard]] std::vector<BatchModel> Models() const {
    std::vector<BatchModel> models;
    for (const std::filesystem::path& source : sources_) {
      const std::string extension = source.extension().string();
      if (extension == ".toml" || extension == ".json") {
        for (BatchModel& model : ReadManifest(source)) models.push_back(std::move(model));
        continue;
      }
      for (FoundModel& found : FindModels(source, request_.directory)) {
        models.push_back({std::move(found.source), std::move(found.base), "", {}, {}, found.bytes});
      }
    }
    if (models.empty()) {
      throw InputError("there is no .onnx model in '" + sources_.front().string() + "'");
    }
    return models;
  }

  /// The status of the batch is that of the first job that failed.
  static ExitCode FirstFailure(const BatchReport& report) {
    for (const JobResult& result : report.results) {
      if (result.state != JobState::kFailed) continue;
      return result.status <= int(ExitCode::kQuality) ? ExitCode(result.status)
                                                      : ExitCode::kInternal;
    }
    return ExitCode::kDone;
  }

  const CLI::App& app_;
  Recipe unused_;  ///< jobs get words
  std::vector<std::filesystem::path> sources_;
  std::vector<std::string> recipes_;
  std::string name_ = "{base}_{method}_w{bits}_g{group}_{head}";
  std::optional<Shard> shard_;
  int64_t shards_ = 0;
  BatchRequest request_;
  std::filesystem::path report_file_;
  CiFiles ci_files_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeBatchCommand(CLI::App& app) {
  return std::make_unique<BatchCommand>(app);
}

}  // namespace ptq
