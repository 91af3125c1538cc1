// Checks that everything is what it was, measures the drift, and makes the result again.
#include "ptq/flows/recalibration.h"

#include <algorithm>

#include "drift.h"
#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
#include "ptq/base/hash.h"
#include "ptq/base/json.h"
#include "ptq/base/scratch_directory.h"
#include "ptq/calibrate/collect.h"
#include "ptq/model/model.h"
#include "ptq/stats/statistics_file.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// The model that a result says it was made of.
void CheckSource(const RecalibrationRequest& request, const Json& metadata) {
  const Json source = MemberOrNull(metadata, "source");
  if (!source.is_object()) {
    throw UsageError("'" + request.result.string() +
                     "' holds several models; recalibrate takes results of one");
  }
  const Model model = Model::Load(request.recipe.source);
  if (Json(Sha256OfFile(model.path())) == MemberOrNull(source, "sha256")) return;
  throw InputError("'" + model.path().string() + "' is not the model that '" +
                   request.result.string() +
                   "' was made of: its SHA-256 is another; give that one "
                   "as --src");
}

/// What decides the samples of a run, as its metadata say.
Json SamplesOf(const Json& calibration) {
  return {{"ids_sha256", MemberOrNull(calibration, "ids_sha256")},
          {"tokens", MemberOrNull(calibration, "tokens")}};
}

/// Whether the samples of before can be had; else why not.
std::string WhyUnknown(const RecalibrationRequest& request, const Json& calibration) {
  if (!request.statistics_before.empty() || !request.samples_before.empty()) return "";
  const Json file = MemberOrNull(calibration, "file");
  if (file == "built-in") return "";
  return "the samples that it was made for (" +
         (file.is_string() ? "'" + file.get<std::string>() + "'" : "of several files") +
         ") are not known: give them as --calib-before, or their statistics as --stats-before";
}

void CollectBefore(const RecalibrationRequest& request, const Json& metadata,
                   const fs::path& file) {
  Recipe recipe = request.recipe;
  recipe.calibration.files = request.samples_before;
  const Json made = MemberOrNull(metadata, "recipe");
  recipe.calibration.samples = made.value("calib_samples", recipe.calibration.samples);
  recipe.calibration.seq_len = made.value("seq_len", recipe.calibration.seq_len);
  recipe.calibration.seed = made.value("seed", recipe.calibration.seed);
  Ranks alone = Ranks::Alone();
  (void)CollectStatistics(recipe, file, alone);
}

void Measure(const RecalibrationRequest& request, const Json& metadata,
             RecalibrationReport& report) {
  const ScratchDirectory scratch(fs::absolute(request.result).lexically_normal().parent_path());
  fs::path before = request.statistics_before;
  if (before.empty()) CollectBefore(request, metadata, before = scratch.path() / "before");
  const Json then = SamplesOf(MemberOrNull(metadata, "calibration"));
  const Json found = SamplesOf(StatisticsFile(before).provenance().at("calibration"));
  if (then != found) {
    throw InputError("the samples given as those of before are not what '" +
                     request.result.string() + "' was made for: their tokens are others");
  }
  Ranks alone = Ranks::Alone();
  (void)CollectStatistics(request.recipe, scratch.path() / "now", alone);
  report.sites = CompareStatistics(request.recipe, before, scratch.path() / "now");
  double of_before = 0, of_now = 0;
  for (const SiteDrift& site : report.sites) {
    of_before += site.loss_before;
    of_now += site.loss_now;
    report.mean_abs += site.statistics.mean_abs / double(report.sites.size());
    report.subspace += site.statistics.subspace / double(report.sites.size());
  }
  report.drift = of_now > 0 ? of_before / of_now - 1 : 0;
}

}  // namespace

RecalibrationReport Recalibrate(const RecalibrationRequest& request) {
  const Json metadata = ReadMetadata(request.result);
  CheckSource(request, metadata);
  if (!NeedsStatistics(request.recipe)) {
    throw UsageError("'" + request.result.string() + "' was made by --method " +
                     request.recipe.method + ", which looks at no samples");
  }
  RecalibrationReport report;
  report.unknown = WhyUnknown(request, MemberOrNull(metadata, "calibration"));
  if (report.unknown.empty()) {
    Measure(request, metadata, report);
    report.needed = !request.if_drift.has_value() || report.drift > *request.if_drift;
  } else if (request.if_drift.has_value()) {
    throw UsageError("--if-drift: " + report.unknown);
  }
  if (request.dry_run || !report.needed) return report;
  Ranks alone = Ranks::Alone();
  report.made = MakeResult(request.recipe, {}, alone);
  return report;
}

}  // namespace ptq
