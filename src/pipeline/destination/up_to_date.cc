// Compares the metadata of a finished result with what a run is about to do.
#include "up_to_date.h"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "differences.h"
#include <sys/stat.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/hash.h"
#include "ptq/base/json.h"
#include "ptq/calibrate/calibration_run.h"
#include "ptq/calibrate/companions.h"
#include "ptq/emit/metadata.h"
#include "ptq/emit/sidecars.h"
#include "ptq/pipeline/single_file.h"
#include "ptq/stats/statistics_file.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

void Append(std::vector<std::string>& to, std::vector<std::string> from) {
  std::ranges::move(from, std::back_inserter(to));
}

/// What decides the samples: the bytes of their file may be others and give the same.
Json SamplesOf(const Json& provenance) {
  Json samples;
  for (const char* key : {"file", "ids_sha256", "samples", "tokens", "merged"}) {
    if (provenance.contains(key)) samples[key] = provenance[key];
  }
  return samples;
}

Json SamplesNow(const Recipe& recipe, const Source& source, const RunContext& context) {
  Ranks alone = Ranks::Alone();
  return ToJson(ReadSamplesFor(source, recipe, alone, context.inputs).provenance);
}

/// What has changed since `then`. `now` gives the provenance, and may throw.
template <class Now>
std::vector<std::string> Compared(const Json& then, const char* what, const Now& now) {
  try {
    return Differences(SamplesOf(then), SamplesOf(now()), what);
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& error) {
    return {std::string("samples cannot be read (") + error.what() + ")"};
  }
}

/// `then`: what the metadata says of the calibration; null without one.
std::vector<std::string> SampleChanges(const Json& then, const Recipe& recipe, const Source& source,
                                       const RunContext& context) {
  // Inputs that nobody can make, or codes that were found for another model.
  if (!NeedsStatistics(recipe) || then.is_null()) return {};
  const auto& files = recipe.calibration.files;
  if (std::ranges::find(files, "-") != files.end() && recipe.statistics.empty()) {
    return {"samples from standard input, which are not compared"};
  }
  return Compared(then, "samples", [&] {
    return recipe.statistics.empty()
               ? SamplesNow(recipe, source, context)
               : Json(StatisticsFile(recipe.statistics).provenance().at("calibration"));
  });
}

/// Data files are told apart by their age, which takes no reading.
Json WithoutDataHashes(Json source) {
  if (!source.is_object() || !source.contains("data_files")) return source;
  for (Json& file : source["data_files"]) {
    if (file.is_object()) file.erase("sha256");
  }
  return source;
}

/// `then`: what the metadata says of the samples that the caches' scales are from.
std::vector<std::string> CacheSampleChanges(const Json& then, const Recipe& recipe,
                                            const Source& source, const RunContext& context) {
  if (recipe.kv_cache == Precision::kKeep) return {};
  return Compared(then, "samples of caches", [&] { return SamplesNow(recipe, source, context); });
}

}  // namespace

bool HasCard(const fs::path& destination, const RunOptions& options) {
  if (options.card.empty()) return true;
  const auto result = FinishedResult::Find(destination);
  return result.has_value() && result->metadata().value("model_card", "") == options.card;
}

std::optional<FinishedResult> FinishedResult::Find(const fs::path& destination) {
  return FindBeside(destination / kMetadataFileName);
}

std::optional<FinishedResult> FinishedResult::FindBeside(const fs::path& file) {
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
  Json metadata = ParseJson<Json>(ReadTextFile(file));
  const Json::json_pointer name("/tool/name");
  if (!metadata.is_object() || !metadata.contains(name) || metadata[name] != "quantize") {
    return std::nullopt;
  }
  return FinishedResult(file.parent_path(), std::move(metadata), info.st_mtim);
}

std::vector<std::string> FinishedResult::RecipeChanges(const Recipe& recipe) const {
  const Json now = {{"version", PTQ_VERSION}, {"recipe", ToJson(recipe)}};
  const Json then = {{"version", MemberOrNull(MemberOrNull(metadata_, "tool"), "version")},
                     {"recipe", MemberOrNull(metadata_, "recipe")}};
  std::vector<std::string> changes = Differences(then, now);
  if (!recipe.gates.empty() && changes.empty()) {
    const Json text = MemberOrNull(MemberOrNull(metadata_, "gate"), "text");
    Append(changes, Differences({{"gate_text", MemberOrNull(text, "sha256")}},
                                {{"gate_text", Sha256OfFile(recipe.gate_text)}}));
  }
  return changes;
}

std::vector<std::string> FinishedResult::ModelChanges(const Json& part, const fs::path& written,
                                                      const Recipe& recipe, const Source& source,
                                                      const RunContext& context) const {
  std::vector<std::string> changes;
  AddMissing(written, changes);
  const Model& model = source.model;
  if (part.contains("source")) {
    Append(changes,
           Differences(WithoutDataHashes(part["source"]), ToJson(DescribeSource(model)), "source"));
  } else {  // it was copied as it is
    AddIfChanged(model.path(), model.path().filename().string(), changes);
  }
  for (const std::string& name : model.ExternalFiles()) {
    AddIfChanged(model.DataFile(name), name, changes);
  }
  if (changes.empty())
    changes = SampleChanges(MemberOrNull(part, "calibration"), recipe, source, context);
  if (changes.empty()) {
    changes = CacheSampleChanges(MemberOrNull(part, "cache_samples"), recipe, source, context);
  }
  return changes;
}

std::vector<std::string> FinishedResult::SidecarChanges(const fs::path& root) const {
  std::vector<std::string> changes;
  for (const Json& name : MemberOrNull(metadata_, "sidecars")) {
    if (!name.is_string()) continue;
    AddIfChanged(root / name.get<std::string>(), name.get<std::string>(), changes);
  }
  return changes;
}

/// Whether somebody has written a file, or put another in its place, since the result was finished.
void FinishedResult::AddIfChanged(const fs::path& file, const std::string& name,
                                  std::vector<std::string>& changes) const {
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0) {
    changes.push_back("'" + name + "' is no longer there");
  } else if (std::tie(info.st_ctim.tv_sec, info.st_ctim.tv_nsec) >=
             std::tie(written_.tv_sec, written_.tv_nsec)) {
    changes.push_back("'" + name + "' has changed");
  }
}

void FinishedResult::AddMissing(const fs::path& model, std::vector<std::string>& changes) const {
  for (const Json& file : MemberOrNull(metadata_, "files")) {
    const std::string name = file.is_object() ? file.value("file", std::string()) : "";
    if (!fs::exists(directory_ / name)) changes.push_back("'" + name + "' is no longer there");
  }
  if (!changes.empty()) return;
  try {
    (void)Model::Load(directory_ / model);  // with its data
  } catch (const Error&) {
    changes.push_back("'" + model.generic_string() + "' is no longer whole");
  }
}

namespace {

/// Whether there are none. Throws OutputError when there are, and they must not be overwritten.
bool Decide(const std::vector<std::string>& changes, const Recipe& recipe,
            const fs::path& destination) {
  if (changes.empty() || recipe.overwrite) return changes.empty();
  throw OutputError("destination '" + destination.string() +
                    "' exists already, and is not what this command makes: " + Listed(changes) +
                    "; choose another --dst or give --overwrite");
}

}  // namespace

void CheckDestinationOrResult(const Recipe& recipe, const fs::path& destination, Touch touch) {
  if (touch != Touch::kNothing) CompleteUnfinished(recipe, destination);
  Recipe lenient = recipe;
  lenient.overwrite = recipe.overwrite || FinishedResult::Find(destination).has_value();
  CheckDestination(lenient, destination, touch);
}

bool IsUpToDate(const Recipe& recipe, const Source& source, const RunContext& context,
                const fs::path& earlier_file, RunReport& report) {
  const bool is_file = !earlier_file.empty();
  const auto found = is_file ? FinishedResult::FindBeside(MetadataOfSingleFile(earlier_file))
                             : FinishedResult::Find(report.destination);
  if (!found.has_value()) return false;
  std::vector<std::string> changes = found->RecipeChanges(recipe);
  if (!found->metadata().contains("source")) changes.emplace_back("it holds several models");
  const fs::path written = FilesOf(recipe, source, report.plan, context).model;
  if (changes.empty()) {
    changes = found->ModelChanges(found->metadata(), written, recipe, source, context);
  }
  if (changes.empty() && !is_file) {
    changes = found->SidecarChanges(SidecarDirectory(source.model.directory()));
  }
  if (!Decide(changes, recipe, is_file ? earlier_file : report.destination)) return false;
  report.up_to_date = true;
  report.bytes_before = SourceBytes(source.model);
  report.bytes_after = SourceBytes(Model::Load(found->directory() / written));
  return true;
}

std::optional<DirectoryReport> FindUpToDateDirectory(const Recipe& recipe,
                                                     const fs::path& destination) {
  const auto found = FinishedResult::Find(destination);
  if (!found.has_value()) return std::nullopt;
  DirectoryReport report;
  report.destination = destination;
  report.metadata = found->metadata();
  const std::vector<fs::path> files = ModelFiles(recipe.source).files;
  const Json parts = MemberOrNull(report.metadata, "models");
  std::vector<std::string> changes = found->RecipeChanges(recipe);
  if (parts.size() != files.size()) changes.emplace_back("it holds other models");
  Companions companions(files, recipe);
  for (size_t i = 0; i < files.size() && changes.empty(); ++i) {
    const Source& source = companions.source(i);
    const fs::path written = parts[i].value("file", std::string());
    RunContext context;
    context.inputs = InputsOf(companions, i);
    changes = found->ModelChanges(parts[i], written, recipe, source, context);
    if (!changes.empty()) break;
    report.bytes_before += SourceBytes(source.model);
    report.bytes_after += SourceBytes(Model::Load(destination / written));
  }
  if (changes.empty())
    changes = found->SidecarChanges(SidecarDirectory(files.front().parent_path()));
  if (!Decide(changes, recipe, destination)) return std::nullopt;
  report.up_to_date = true;
  return report;
}

}  // namespace ptq
