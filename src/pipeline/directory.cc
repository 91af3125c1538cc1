// Takes the models one after the other, resumes between them, and assembles one result.
#include "ptq/pipeline/directory.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <utility>

#include "byte_account.h"
#include "calibration_run.h"
#include "check_destination.h"
#include "checkpoint.h"
#include "companions.h"
#include "differences.h"
#include "disk_space.h"
#include "run_context.h"
#include "shared_weights.h"
#include "up_to_date.h"
#include <spdlog/spdlog.h>

#include "ptq/base/copy_file.h"
#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/hash.h"
#include "ptq/base/memory.h"
#include "ptq/base/progress.h"
#include "ptq/base/staged_directory.h"
#include "ptq/emit/metadata.h"
#include "ptq/emit/output_model.h"
#include "ptq/emit/sidecars.h"
#include "ptq/emit/written_files.h"
#include "ptq/model/model_forms.h"
#include "ptq/pipeline/samples.h"
#include "ptq/plan/names.h"
#include "ptq/runtime/refused_input.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr char kIdentityFile[] = "identity.json";

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
    spdlog::info("left out, other forms of these models: {}", NamesOf(choice.left_out));
  }
  return std::move(choice.files);
}

/// The models of a directory, and what each of them becomes.
class DirectoryRoad {
 public:
  DirectoryRoad(const Recipe& recipe, const fs::path& shared)
      : recipe_(recipe), companions_(FilesToQuantize(recipe.source), recipe), shared_(shared) {
    if (!recipe.statistics.empty()) {
      throw UsageError("--stats is of one model; give one of the files in '" +
                       recipe.source.string() + "'");
    }
    for (size_t i = 0; i < companions_.size(); ++i) {
      RunContext context;
      context.is_part = true;
      Source& source = companions_.source(i);
      try {
        plans_.push_back(StartReport(source, recipe, context));
      } catch (const UnsupportedError& error) {  // it holds no linear
        plans_.emplace_back();
        unchanged_.emplace_back(error.what());
        shared_.Add(source, {});
        continue;
      }
      unchanged_.emplace_back();
      shared_.Add(source, plans_.back().plan);
    }
    CheckPatterns(recipe.include, "--include", plans_);
    CheckPatterns(recipe.exclude, "--exclude", plans_);
    const fs::path directory = companions_.file(0).parent_path();
    root_ = SidecarDirectory(directory);
    obstacles_.resize(size());
  }

  /// Finds, before any work, which models cannot be calibrated, and why. Throws when what the user
  /// gives to calibrate with serves none.
  void FindObstacles() {
    std::optional<InputError> refused;
    bool any = false;
    for (size_t i = 0; i < size(); ++i) {
      if (!unchanged_[i].empty() || !NeedsStatistics(MethodOf(recipe_))) continue;
      try {
        TryCalibration(companions_.source(i), recipe_, ContextFor(i));
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
  /// Why a model is rounded to nearest; empty when it is not.
  [[nodiscard]] const std::string& obstacle(size_t model) const { return obstacles_[model]; }

  [[nodiscard]] size_t size() const { return plans_.size(); }
  [[nodiscard]] Companions& companions() { return companions_; }
  [[nodiscard]] const fs::path& root() const { return root_; }
  /// Below the root.
  [[nodiscard]] fs::path NameOf(size_t model) const {
    return fs::absolute(companions_.file(model)).lexically_normal().lexically_relative(root_);
  }

  /// Where a finished model lies in the result.
  [[nodiscard]] OutputFiles FilesFor(size_t model, bool copied) {
    if (!copied) {
      return FilesOf(recipe_, companions_.source(model), plans_[model].plan, ContextFor(model));
    }
    const Model& source = companions_.source(model).model;
    OutputFiles files = FilesIn(FolderFor(model), source.path().filename());
    const auto data = source.ExternalFiles();
    if (!data.empty()) files.data = FolderFor(model) / data.front();
    return files;
  }

  [[nodiscard]] RunContext ContextFor(size_t model) {
    RunContext context = ContextOf(companions_, model);
    context.is_part = true;
    context.shared = &shared_;
    context.model = model;
    context.folder = FolderFor(model);
    context.obstacle = obstacles_[model];
    return context;
  }

  [[nodiscard]] RunReport PlanOf(size_t model, const fs::path& destination) {
    Recipe own = recipe_;
    own.destination = destination;
    RunReport report = StartReport(companions_.source(model), own, ContextFor(model));
    report.predicted_peak_bytes = PredictPeak(companions_.source(model), own, report.plan);
    return report;
  }

  /// Where the bytes of a finished model are, which are `written` in all.
  [[nodiscard]] FileBytes BytesFor(size_t model, int64_t written) {
    const Source& source = companions_.source(model);
    if (!unchanged_[model].empty()) return {{}, {}, {}, {SourceBytes(source.model), written}};
    Recipe own = recipe_;
    own.destination = root_;
    RunReport report = StartReport(source, own, ContextFor(model));
    report.bytes_after = written;
    AccountFor(source, recipe_, report);
    return report.bytes;
  }

  /// Writes a model, complete, to a directory of its own. One that is refused on the way is rounded
  /// to nearest, and copied when that is refused, too: it does not take the others with it. Returns
  /// the predicted peak, in bytes.
  int64_t Quantize(size_t model, const fs::path& destination, const RunOptions& options) {
    if (!unchanged_[model].empty()) {
      Copy(model, destination);
      return 0;
    }
    const std::string name = NameOf(model).generic_string();
    spdlog::info("quantizing '{}'", name);
    for (bool again = false;; again = true) {
      std::string why;
      try {
        return Travel(model, destination, options, again);
      } catch (const InputError& error) {
        why = error.what();
      } catch (const UnsupportedError& error) {
        why = error.what();
      } catch (const QualityError& error) {
        why = error.what();
      }
      const bool rounded = !obstacles_[model].empty() || !NeedsStatistics(MethodOf(recipe_));
      (rounded ? unchanged_ : obstacles_)[model] = why;
      spdlog::warn("'{}' is {}: {}", name, rounded ? "copied as it is" : "rounded to nearest", why);
      if (!rounded) continue;
      Copy(model, destination);
      return 0;
    }
  }

  /// All results; what samples need in between is checked model by model.
  [[nodiscard]] DiskNeed Need() {
    DiskNeed need;
    for (size_t i = 0; i < size(); ++i) {
      const int64_t bytes = SourceBytes(companions_.source(i).model);
      need.result += unchanged_[i].empty() ? PredictResultBytes(plans_[i], recipe_, bytes) : bytes;
    }
    return need;
  }

  /// What decides the result, but for what each model's checkpoints know.
  [[nodiscard]] Json Identity() {
    Json identity = {{"tool", PTQ_VERSION}, {"recipe", ToJson(recipe_)}};
    for (size_t i = 0; i < size(); ++i) {
      const Model& model = companions_.source(i).model;
      identity["sources"][NameOf(i).generic_string()] =
          SourceFiles(model, Sha256OfFile(model.path()));
    }
    std::error_code error;
    for (const fs::path& samples : recipe_.calibration.files) {
      if (fs::is_regular_file(samples, error)) identity["samples"].push_back(Sha256OfFile(samples));
    }
    return identity;
  }

 private:
  /// The folder of a model and its data in the result.
  [[nodiscard]] fs::path FolderFor(size_t model) const {
    fs::path folder = NameOf(model).parent_path();
    return recipe_.layout == Layout::kFlat && folder == "onnx" ? fs::path() : folder;
  }

  int64_t Travel(size_t model, const fs::path& destination, const RunOptions& options, bool again) {
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

  void Copy(size_t model, const fs::path& directory) {
    fs::remove_all(directory);  // what an interrupted run copied
    const fs::path destination = directory / FolderFor(model);
    fs::create_directories(destination);
    const Model& source = companions_.source(model).model;
    const Json metadata = {{"notes", {unchanged_[model] + "; copied"}}};
    for (const std::string& name : source.ExternalFiles()) {
      fs::create_directories((destination / name).parent_path());
      CopyFile(source.DataFile(name), destination / name);
    }
    CopyFile(source.path(), destination / source.path().filename());
    WriteFileAtomically(directory / kMetadataFileName, metadata.dump());
  }

  const Recipe& recipe_;
  Companions companions_;
  SharedWeights shared_;
  std::vector<RunReport> plans_;
  std::vector<std::string> unchanged_;  ///< why a model is copied as it is
  std::vector<std::string> obstacles_;  ///< why a model is rounded to nearest
  fs::path root_;
};

/// Whether a staged directory holds a finished model, or a checkpoint of one.
bool HasProgress(const fs::path& staged) {
  std::error_code error;
  if (!fs::exists(staged / kIdentityFile, error)) return false;
  for (const auto& entry : fs::directory_iterator(staged / "models", error)) {
    if (fs::exists(entry.path() / kMetadataFileName, error) || Checkpoint::IsIn(entry.path())) {
      return true;
    }
  }
  return false;
}

/// Leaves what is finished, if anything is, for another run.
bool KeepProgress(StagedDirectory& staged) {
  staged.Keep(HasProgress(staged.path()));
  return staged.keeps();
}

void SayWhatIsResumed(const fs::path& staged, size_t models, bool resumes, bool expected) {
  size_t finished = 0;
  for (size_t i = 0; i < models; ++i) {
    finished += fs::exists(staged / "models" / std::to_string(i) / kMetadataFileName) ? 1 : 0;
  }
  if (resumes) {
    spdlog::info("resumed: {} of {} models are finished; --restart would start again", finished,
                 models);
  } else if (expected) {
    spdlog::warn("nothing to resume: '{}' holds no finished model; starting", staged.string());
  }
}

/// Refuses to go on with something else than what was interrupted.
void CheckIdentity(const fs::path& file, const Json& identity, bool resume) {
  std::error_code error;
  if (resume && fs::exists(file, error)) {
    const Json before = Json::parse(ReadTextFile(file), nullptr, false);
    if (before == identity) return;
    const std::vector<std::string> changed =
        before.is_object() ? Differences(before, identity) : std::vector<std::string>{"unreadable"};
    throw UsageError("cannot resume the interrupted run in '" + file.parent_path().string() +
                     "'; changed since: " + Listed(changed) +
                     "; undo that, or start again with --restart");
  }
  WriteFileAtomically(file, identity.dump(2) + "\n");
}

int64_t BytesOf(const fs::path& directory) {
  int64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    const bool counts = entry.is_regular_file() && entry.path().filename() != kMetadataFileName;
    if (counts) bytes += int64_t(entry.file_size());
  }
  return bytes;
}

/// One model's own metadata within that of the directory.
Json PartMetadata(const std::string& file, Json own) {
  Json part = {{"file", file}};
  for (auto& [key, value] : own.items()) {
    static const std::set<std::string> kOfAll = {"schema_version", "tool",     "recipe",
                                                 "sidecars",       "left_out", "files"};
    if (!kOfAll.contains(key)) part[key] = std::move(value);
  }
  return part;
}

/// All but the metadata, which goes into that of the directory. Adds their names below the result.
void MoveFiles(const fs::path& from, const fs::path& root, std::vector<fs::path>& names) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(from)) {
    if (entry.is_regular_file() && entry.path().filename() != kMetadataFileName) {
      files.push_back(entry.path());
    }
  }
  for (const fs::path& file : files) {
    names.push_back(file.lexically_relative(from));
    const fs::path target = root / names.back();
    fs::create_directories(target.parent_path());
    fs::rename(file, target);
  }
}

/// Gives the finished models their places, and writes what stands beside them.
void Assemble(DirectoryRoad& road, const Recipe& recipe, const fs::path& staged,
              DirectoryReport& report) {
  Json models = Json::array();
  std::vector<fs::path> sources, data_files;
  std::vector<OutputFiles> files;
  std::vector<fs::path> names;
  for (size_t i = 0; i < road.size(); ++i) {
    const fs::path from = staged / "models" / std::to_string(i);
    const Model& model = road.companions().source(i).model;
    for (const std::string& file : model.ExternalFiles()) {
      data_files.push_back(model.DataFile(file));
    }
    report.bytes_before += SourceBytes(model);
    report.bytes.push_back(road.BytesFor(i, BytesOf(from)));
    report.bytes_after += BytesOf(from);
    const Json own = Json::parse(ReadTextFile(from / kMetadataFileName));
    files.push_back(road.FilesFor(i, /*copied=*/!own.contains("totals")));
    sources.push_back(model.path());
    models.push_back(PartMetadata(files.back().model.generic_string(), own));
    MoveFiles(from, staged, names);
  }
  const Sidecars sidecars = CopySidecars(road.root(), sources, data_files, staged, files);
  SaySidecars(sidecars);
  names.insert(names.end(), sidecars.copied.begin(), sidecars.copied.end());
  report.metadata = {{"schema_version", kMetadataSchemaVersion},
                     {"tool", {{"name", "quantize"}, {"version", PTQ_VERSION}}},
                     {"recipe", ToJson(recipe)},
                     {"models", std::move(models)},
                     {"sidecars", sidecars.copied},
                     {"left_out", ToJson(sidecars.left_out)},
                     {"files", ToJson(SizesOf(staged, names))}};
  WriteFile(staged / kMetadataFileName, report.metadata.dump(2) + "\n");
  fs::remove_all(staged / "models");
  fs::remove_all(staged / "shared");
  fs::remove(staged / kIdentityFile);
}

}  // namespace

DirectoryReport RunDirectory(const Recipe& recipe, const RunOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  DirectoryReport report;
  report.destination = DestinationOf(recipe);
  CheckDestinationOrResult(recipe, report.destination);
  if (!options.force) {
    if (auto found = FindUpToDateDirectory(recipe, report.destination)) return std::move(*found);
  }
  const bool resumes =
      !options.restart && HasProgress(StagedDirectory::PathFor(report.destination));
  StagedDirectory staged(report.destination, ReplacementOf(recipe), resumes);
  if (resumes) staged.Keep();  // whatever happens
  fs::create_directories(staged.path() / "models");
  fs::create_directories(staged.path() / "shared");
  DirectoryRoad road(recipe, staged.path() / "shared");
  for (size_t i = 0; i < road.size(); ++i) {
    CheckModelFiles(road.companions().source(i).model, report.destination);
  }
  CheckIdentity(staged.path() / kIdentityFile, road.Identity(), resumes);
  CheckDiskSpace(staged.path(), road.Need());
  SayWhatIsResumed(staged.path(), road.size(), resumes, options.resume);
  road.FindObstacles();
  for (size_t i = 0; i < road.size(); ++i) {
    if (road.obstacle(i).empty()) continue;
    spdlog::warn("'{}' is not calibrated: {}; weights are rounded to nearest",
                 road.NameOf(i).generic_string(), road.obstacle(i));
  }
  for (size_t i = 0; i < road.size(); ++i) {
    const fs::path own = staged.path() / "models" / std::to_string(i);
    if (fs::exists(own / kMetadataFileName)) continue;  // of the run that is resumed
    const std::string done = "after " + std::to_string(i) + " of " + std::to_string(road.size()) +
                             " models; the same command goes on from there";
    const Progress progress("model " + std::to_string(i + 1) + " of " +
                            std::to_string(road.size()) + ", " + road.NameOf(i).generic_string());
    try {
      report.predicted_peak_bytes =
          std::max(report.predicted_peak_bytes, road.Quantize(i, own, options));
    } catch (const Interrupted&) {
      if (!KeepProgress(staged)) throw;
      throw Interrupted("interrupted in '" + road.NameOf(i).generic_string() + "', " + done);
    } catch (const OutputError& error) {
      if (!KeepProgress(staged)) throw;
      throw OutputError(std::string(error.what()) + "; stopped " + done);
    } catch (...) {
      (void)KeepProgress(staged);
      throw;
    }
  }
  try {
    Assemble(road, recipe, staged.path(), report);
  } catch (...) {
    (void)KeepProgress(staged);
    throw;
  }
  staged.Commit();
  report.peak_bytes = PeakResidentBytes();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

std::vector<std::pair<std::string, RunReport>> PlanDirectory(const Recipe& recipe) {
  const fs::path destination = DestinationOf(recipe);
  DirectoryRoad road(recipe, {});
  road.FindObstacles();
  std::vector<std::pair<std::string, RunReport>> plans;
  for (size_t i = 0; i < road.size(); ++i) {
    const std::string name = road.NameOf(i).generic_string();
    try {
      plans.emplace_back(name, road.PlanOf(i, destination));
      if (!road.obstacle(i).empty()) {
        plans.back().second.notes.push_back(road.obstacle(i) + "; weights are rounded to nearest");
      }
    } catch (const UnsupportedError& error) {
      RunReport unchanged;
      unchanged.destination = destination;
      unchanged.notes.emplace_back(error.what());
      plans.emplace_back(name, std::move(unchanged));
    }
  }
  return plans;
}

}  // namespace ptq
