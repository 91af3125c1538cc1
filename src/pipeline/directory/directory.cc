// Takes the models one after the other, resumes between them, and assembles one result.
#include "ptq/pipeline/directory.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "assemble.h"
#include "checkpoint.h"
#include "destination/check_destination.h"
#include "destination/disk_space.h"
#include "destination/up_to_date.h"
#include "differences.h"
#include "directory_models.h"
#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/folders.h"
#include "ptq/base/json.h"
#include "ptq/base/memory.h"
#include "ptq/base/progress.h"
#include "ptq/base/staged_directory.h"
#include "ptq/emit/metadata.h"
#include "ptq/emit/written_files.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr char kIdentityFile[] = "identity.json";

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
    finished += fs::exists(PartOf(staged, i) / kMetadataFileName) ? 1 : 0;
  }
  if (resumes) {
    spdlog::info("resumed: " + std::to_string(finished) + " of " + std::to_string(models) +
                 " models are finished; --restart would start again");
  } else if (expected) {
    spdlog::warn("nothing to resume: '" + staged.string() + "' holds no finished model; starting");
  }
}

/// Refuses to go on with something else than what was interrupted.
void CheckLeft(const fs::path& staged, const Json& identity) {
  CheckIdentity(staged / kIdentityFile, identity,
                "the interrupted run in '" + staged.string() + "'");
}

void CheckOrWriteIdentity(const fs::path& staged, const Json& identity, bool resume) {
  std::error_code error;
  if (resume && fs::exists(staged / kIdentityFile, error)) {
    CheckLeft(staged, identity);
  } else {
    WriteFileAtomically(staged / kIdentityFile, DumpJson(identity, 2) + "\n");
  }
}

void CheckFiles(DirectoryModels& models, const fs::path& destination) {
  for (size_t i = 0; i < models.size(); ++i) {
    CheckModelFiles(models.companions().source(i).model, destination);
  }
}

/// Quantizes what an interrupted run has not; says what stays when it must stop.
void QuantizeAll(DirectoryModels& models, StagedDirectory& staged, const RunOptions& options,
                 DirectoryReport& report) {
  for (size_t i = 0; i < models.size(); ++i) {
    const fs::path own = PartOf(staged.path(), i);
    StagedDirectory::Recover(own, {true, WrittenFiles});
    if (fs::exists(own / kMetadataFileName)) continue;  // of the run that is resumed
    const std::string done = "after " + std::to_string(i) + " of " + std::to_string(models.size()) +
                             " models; the same command goes on from there";
    const Progress progress("model " + std::to_string(i + 1) + " of " +
                            std::to_string(models.size()) + ", " +
                            models.NameOf(i).generic_string());
    try {
      report.predicted_peak_bytes =
          std::max(report.predicted_peak_bytes, models.Quantize(i, own, options));
    } catch (const Interrupted&) {
      if (!KeepProgress(staged)) throw;
      throw Interrupted("interrupted in '" + models.NameOf(i).generic_string() + "', " + done);
    } catch (const OutputError& error) {
      if (!KeepProgress(staged)) throw;
      throw OutputError(std::string(error.what()) + "; stopped " + done);
    } catch (...) {
      (void)KeepProgress(staged);
      throw;
    }
  }
}

}  // namespace

DirectoryReport RunDirectory(const Recipe& recipe, const RunOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  DirectoryReport report;
  report.destination = DestinationOf(recipe);
  CheckDestinationOrResult(recipe, report.destination, Touch::kUnfinished);
  if (!options.force && HasCard(report.destination, options)) {
    if (auto found = FindUpToDateDirectory(recipe, report.destination)) return std::move(*found);
  }
  const bool resumes =
      !options.restart && HasProgress(StagedDirectory::PathFor(report.destination));
  StagedDirectory staged(report.destination, ReplacementOf(recipe), resumes);
  if (resumes) staged.Keep();  // whatever happens
  MakeFolders(staged.path() / "models");
  MakeFolders(staged.path() / "common");
  DirectoryModels models(recipe, staged.path() / "common");
  CheckFiles(models, report.destination);
  CheckOrWriteIdentity(staged.path(), models.Identity(), resumes);
  CheckDiskSpace(staged.path(), models.Need());
  SayWhatIsResumed(staged.path(), models.size(), resumes, options.resume);
  models.FindObstacles();
  for (size_t i = 0; i < models.size(); ++i) {
    if (models.obstacle(i).empty()) continue;
    spdlog::warn("'" + models.NameOf(i).generic_string() +
                 "' is not calibrated: " + models.obstacle(i) + "; weights are rounded to nearest");
  }
  QuantizeAll(models, staged, options, report);
  try {
    Assemble(models, recipe, staged.path(), report);
    if (options.judge) {
      report.gate = options.judge(staged.path(), report.metadata);
      report.metadata["gate"] = ToJson(*report.gate);
      WriteFile(staged.path() / kMetadataFileName, DumpForPeople(report.metadata) + "\n");
    }
    if (!options.card.empty()) {
      WriteFile(staged.path() / options.card, options.write_card(staged.path(), report.metadata));
      auto files = WrittenFiles(staged.path()).value_or(std::vector<WrittenFile>());
      std::erase_if(files, [](const WrittenFile& file) { return file.name == kMetadataFileName; });
      Relist(staged.path(), options.card, files);
      report.metadata["files"] = ToJson(files);
      report.metadata["model_card"] = options.card;
      WriteFile(staged.path() / kMetadataFileName, DumpForPeople(report.metadata) + "\n");
    }
    RemoveParts(staged.path());
    RemoveAll(staged.path() / kIdentityFile);
  } catch (const QualityError&) {
    staged.Keep(false);  // it would be no better the next time
    throw;
  } catch (...) {
    (void)KeepProgress(staged);
    throw;
  }
  staged.Commit();
  report.peak_bytes = PeakResidentBytes();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

std::vector<std::pair<std::string, RunReport>> RehearseDirectory(const Recipe& recipe,
                                                                 const RunOptions& options) {
  const fs::path destination = DestinationOf(recipe);
  const Replacement replacement = ReplacementOf(recipe);
  CheckDestinationOrResult(recipe, destination, Touch::kNothing);
  const fs::path staged = StagedDirectory::PathFor(destination);
  const bool resumes = !options.restart && HasProgress(staged);
  const bool done = !options.force && HasCard(destination, options) &&
                    !StagedDirectory::IsUnfinished(destination, replacement) &&
                    FindUpToDateDirectory(recipe, destination).has_value();
  if (!done) StagedDirectory::Check(destination, replacement, resumes);
  DirectoryModels models(recipe, {});
  CheckFiles(models, destination);
  if (resumes) CheckLeft(staged, models.Identity());
  CheckDiskSpace(staged, models.Need());
  models.FindObstacles();
  std::vector<std::pair<std::string, RunReport>> plans;
  for (size_t i = 0; i < models.size(); ++i) {
    plans.emplace_back(models.NameOf(i).generic_string(), models.Rehearse(i, destination));
    if (done) plans.back().second.notes.emplace_back(kUpToDateNote);
  }
  return plans;
}

}  // namespace ptq
