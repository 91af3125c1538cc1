// Plans the models together, and takes each down the road, or copies it.
#include "directory_models.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "byte_account.h"
#include "rehearse.h"
#include <spdlog/spdlog.h>

#include "ptq/base/copy_file.h"
#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/folders.h"
#include "ptq/base/hash.h"
#include "ptq/base/json.h"
#include "ptq/calibrate/calibration_run.h"
#include "ptq/calibrate/samples.h"
#include "ptq/emit/metadata.h"
#include "ptq/emit/sidecars.h"
#include "ptq/model/model_forms.h"
#include "ptq/pipeline/directory.h"
#include "ptq/plan/names.h"
#include "ptq/runtime/refused_input.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

void CheckPatterns(const std::vector<std::string>& patterns, const std::string& option,
                   const std::vector<RunReport>& plans) {
  for (const std::string& text : patterns) {
    const NamePattern pattern(text);
    const bool any = std::ranges::any_of(plans, [&](const RunReport& report) {
      return std::ranges::any_of(report.plan.linears,
                                 [&](const Linear& linear) { return Matches(pattern, linear); });
    });
    if (!any) {
      throw UsageError(
          option + " '" + text +
          "' matches no linear of any model; quantize run --dry-run lists their names");
    }
  }
}

/// The models of a directory; says which other forms of them are not taken.
std::vector<fs::path> FilesToQuantize(const fs::path& source) {
  ModelChoice choice = ModelFiles(source);
  if (!choice.left_out.empty()) {
    spdlog::info("left out, other forms of these models: " + NamesOf(choice.left_out));
  }
  return std::move(choice.files);
}

}  // namespace

DirectoryModels::DirectoryModels(const Recipe& recipe, const fs::path& common)
    : recipe_(recipe), companions_(FilesToQuantize(recipe.source), recipe), common_(common) {
  if (!recipe.statistics.empty()) {
    throw UsageError("--stats is of one model; give one of the files in '" +
                     recipe.source.string() + "'");
  }
  root_ = SidecarDirectory(companions_.file(0).parent_path());
  for (size_t i = 0; i < companions_.size(); ++i) {
    names_.push_back(NameOf(i).replace_extension().generic_string());
  }
  for (size_t i = 0; i < companions_.size(); ++i) AddPlan(i);
  CheckPatterns(recipe.include, "--include", plans_);
  CheckPatterns(recipe.exclude, "--exclude", plans_);
  CheckRules();
  obstacles_.resize(size());
}

void DirectoryModels::AddPlan(size_t model) {
  Source& source = companions_.source(model);
  RunContext context;
  AddNames(model, context);
  unchanged_.emplace_back();
  try {
    plans_.push_back(StartReport(source, recipe_, context));
  } catch (const UnsupportedError& error) {  // it holds no linear
    plans_.emplace_back();
    unchanged_.back() = error.what();
  }
  common_.Add(source, plans_.back().plan);
}

void DirectoryModels::AddNames(size_t model, RunContext& context) const {
  context.is_part = true;
  context.name = names_[model];
  context.models = names_;
}

void DirectoryModels::CheckRules() const {
  for (const Rule& rule : recipe_.rules) {
    bool any = false;
    for (size_t i = 0; i < size(); ++i) {
      const auto own = RuleFor(rule, names_[i], names_);
      any = any || (own && RuleList({&*own, 1}).Matches(0, plans_[i].plan));
    }
    if (!any) RefuseUnmatched(rule, " of any model");
  }
}

fs::path DirectoryModels::NameOf(size_t model) const {
  return fs::absolute(companions_.file(model)).lexically_normal().lexically_relative(root_);
}

OutputFiles DirectoryModels::FilesFor(size_t model, bool copied) {
  if (!copied) {
    return FilesOf(recipe_, companions_.source(model), plans_[model].plan, ContextFor(model));
  }
  const Model& source = companions_.source(model).model;
  OutputFiles files = FilesIn(FolderFor(model), source.path().filename());
  const auto data = source.ExternalFiles();
  if (!data.empty()) files.data = FolderFor(model) / data.front();
  return files;
}

void DirectoryModels::FindObstacles() {
  std::optional<InputError> refused;
  bool any = false;
  for (size_t i = 0; i < size(); ++i) {
    if (!unchanged_[i].empty() || !NeedsStatistics(recipe_)) continue;
    try {
      TryCalibration(companions_.source(i), recipe_, ContextFor(i).inputs);
      any = true;
    } catch (const UnsupportedError& error) {
      obstacles_[i] = error.what();
    } catch (const NoTokenizer& error) {
      obstacles_[i] = error.what();
    } catch (const RefusedInput& error) {
      obstacles_[i] = error.what();
    } catch (const InputError& error) {
      obstacles_[i] = error.what();
      refused = error;
    }
  }
  if (refused.has_value() && !any) throw InputError(*refused);
}

RunReport DirectoryModels::Rehearse(size_t model, const fs::path& destination) {
  Source& source = companions_.source(model);
  Recipe own = recipe_;
  own.source = companions_.file(model);
  own.destination = destination;
  RunReport report;
  const bool quantized = Attempt(model, [&](bool /*again*/) {
    const RunContext context = ContextFor(model);
    report = StartReport(source, own, context);
    ptq::Rehearse(own, source, {}, context, report);
  });
  if (quantized) return report;
  RunReport copied;
  copied.destination = destination;
  copied.bytes_before = SourceBytes(source.model);
  copied.bytes.rest = {copied.bytes_before, copied.bytes_before};
  copied.predicted.model = int64_t(fs::file_size(source.model.path()));
  copied.predicted_files = {{FilesFor(model, /*copied=*/true).model, copied.predicted.model, ""}};
  for (const std::string& name : source.model.ExternalFiles()) {
    copied.predicted.data.push_back(int64_t(fs::file_size(source.model.DataFile(name))));
    copied.predicted_files.push_back({FolderFor(model) / name, copied.predicted.data.back(), ""});
  }
  copied.predicted_most = copied.predicted;
  copied.notes.push_back(unchanged_[model]);
  return copied;
}

DiskNeed DirectoryModels::Need() {
  DiskNeed need;
  for (size_t i = 0; i < size(); ++i) {
    const int64_t bytes = SourceBytes(companions_.source(i).model);
    need.result += unchanged_[i].empty() ? PredictResultBytes(plans_[i], recipe_, bytes) : bytes;
  }
  return need;
}

nlohmann::ordered_json DirectoryModels::Identity() {
  Json identity = {{"tool", PTQ_VERSION}, {"recipe", ToJson(recipe_)}};
  for (size_t i = 0; i < size(); ++i) {
    const Model& model = companions_.source(i).model;
    identity["sources"][NameOf(i).generic_string()] =
        SourceFiles(model, Sha256OfFile(model.path()));
  }
  for (const Rule& rule : recipe_.fallback) identity["fallback"].push_back(ToJson(rule));
  std::error_code error;
  for (const CalibrationInput& samples : ResolveCalibrationFiles(recipe_.calibration.files)) {
    if (!fs::is_regular_file(samples.file, error)) continue;
    identity["samples"].push_back(Sha256OfFile(samples.file) + samples.field);
  }
  return identity;
}

int64_t DirectoryModels::Quantize(size_t model, const fs::path& destination,
                                  const RunOptions& options) {
  int64_t peak_bytes = 0;
  if (unchanged_[model].empty()) {
    spdlog::info("quantizing '" + NameOf(model).generic_string() + "'");
  }
  const bool quantized =
      Attempt(model, [&](bool again) { peak_bytes = Travel(model, destination, options, again); });
  if (quantized) return peak_bytes;
  Copy(model, destination);
  return 0;
}

bool DirectoryModels::Attempt(size_t model, const std::function<void(bool)>& work) {
  for (bool again = false; unchanged_[model].empty(); again = true) {
    std::string why;
    try {
      work(again);
      return true;
    } catch (const InputError& error) {
      why = error.what();
    } catch (const UnsupportedError& error) {
      why = error.what();
    } catch (const QualityError& error) {
      why = error.what();
    }
    const bool rounded = !obstacles_[model].empty() || !NeedsStatistics(recipe_);
    (rounded ? unchanged_ : obstacles_)[model] = why;
    spdlog::warn("'" + NameOf(model).generic_string() + "' is " +
                 (rounded ? "copied as it is" : "rounded to nearest") + ": " + why);
  }
  return false;
}

FileBytes DirectoryModels::BytesFor(size_t model, int64_t written) {
  const Source& source = companions_.source(model);
  if (!unchanged_[model].empty()) return {{}, {}, {}, {SourceBytes(source.model), written}};
  Recipe own = recipe_;
  own.destination = root_;
  RunReport report = StartReport(source, own, ContextFor(model));
  report.bytes_after = written;
  AccountFor(source, recipe_, report);
  return report.bytes;
}

RunContext DirectoryModels::ContextFor(size_t model) {
  RunContext context;
  context.inputs = InputsOf(companions_, model);
  context.inputs.obstacle = obstacles_[model];
  AddNames(model, context);
  context.others = {&common_, model};
  context.folder = FolderFor(model);
  return context;
}

fs::path DirectoryModels::FolderFor(size_t model) const {
  fs::path folder = NameOf(model).parent_path();
  return recipe_.layout == Layout::kFlat && folder == "onnx" ? fs::path() : folder;
}

int64_t DirectoryModels::Travel(size_t model, const fs::path& destination,
                                const RunOptions& options, bool again) {
  Recipe own = recipe_;
  own.source = companions_.file(model);
  own.destination = destination;
  own.overwrite = true;
  const RunContext context = ContextFor(model);
  RunReport report = StartReport(companions_.source(model), own, context);
  RunOptions own_options = options;
  own_options.resume = false;  // the directory is, or is not, as a whole
  own_options.restart = again;
  Ranks alone = Ranks::Alone();
  ptq::Travel(own, companions_.source(model), alone, report, own_options, context);
  return report.predicted_peak_bytes;
}

void DirectoryModels::Copy(size_t model, const fs::path& directory) {
  RemoveAll(directory);  // what an interrupted run copied
  const fs::path destination = directory / FolderFor(model);
  MakeFolders(destination);
  const Model& source = companions_.source(model).model;
  const Json metadata = {{"notes", {unchanged_[model] + "; copied"}}};
  for (const std::string& name : source.ExternalFiles()) {
    MakeFolders((destination / name).parent_path());
    CopyFile(source.DataFile(name), destination / name);
  }
  CopyFile(source.path(), destination / source.path().filename());
  WriteFileAtomically(directory / kMetadataFileName, DumpJson(metadata));
}

}  // namespace ptq
