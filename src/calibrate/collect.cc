// Observes all sites segment by segment into a statistics file, and merges such files.
#include "ptq/calibrate/collect.h"

#include <optional>
#include <utility>

#include "ptq/base/destination.h"
#include "ptq/base/error.h"
#include "ptq/base/hash.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/memory.h"
#include "ptq/base/progress.h"
#include "ptq/base/stopwatch.h"
#include "ptq/calibrate/calibration_run.h"
#include "ptq/calibrate/companions.h"
#include "ptq/model/model_paths.h"
#include "ptq/stats/statistics_file.h"

namespace ptq {
namespace {

CollectReport Finished(const StatisticsFile& file, const std::filesystem::path& path) {
  CollectReport report;
  report.file = path;
  report.sites = int64_t(file.sites().size());
  const auto& calibration = file.provenance().at("calibration");
  report.samples = calibration.at("samples").get<int64_t>();
  report.tokens = calibration.at("tokens").get<int64_t>();
  if (calibration.contains("notes")) calibration.at("notes").get_to(report.notes);
  std::error_code error;
  report.bytes = int64_t(std::filesystem::file_size(path, error));
  return report;
}

/// A segment's statistics of all ranks' samples, on rank 0.
StatisticsBySite ObserveTogether(Calibrator& calibrator, size_t segment, Ranks& ranks,
                                 Timings& timings) {
  StatisticsBySite statistics = calibrator.Observe(segment, 0, {}, timings);
  if (ranks.size() == 1) return statistics;
  const Stopwatch watch(timings.exchange);
  for (auto& [id, sums] : statistics) sums.Gather(ranks, 0);
  return statistics;
}

void Collect(const Recipe& recipe, const std::filesystem::path& file, Ranks& ranks,
             Timings& timings) {
  std::optional<Stopwatch> reading(timings.read);
  Companions companions({recipe.source}, recipe);
  const Source& source = companions.source(0);
  if (ranks.is_root()) {
    auto inputs = PathsOf(source.model);
    const auto& files = recipe.calibration.files;
    inputs.insert(inputs.end(), files.begin(), files.end());
    CheckOutputFile(file, inputs);
  }
  PlanOptions options;
  options.head = Precision::kInt4;  // so that its site is among the plan's
  const Plan plan = MakePlan(source.executor.plan(), options);
  const std::string sha256 = Sha256OfFile(source.model.path());
  CheckSameSource(source.model, sha256, ranks);
  const ModelInputs inputs_made = InputsOf(companions, 0);
  CalibrationRun run = StartCalibration({source,
                                         recipe,
                                         Method(),
                                         plan,
                                         std::filesystem::absolute(file).parent_path(),
                                         {},
                                         false,
                                         /*ranges=*/true},
                                        ranks, inputs_made);
  const Stages& stages = run.calibrator.stages();
  std::vector<StoredSite> sites;
  for (const std::vector<Stage>& segment : stages) {
    for (const auto& [id, k] : segment.front().taps) {
      sites.push_back({source.graph.value(id).name, k});
    }
  }
  const nlohmann::ordered_json provenance = {{"tool", PTQ_VERSION},
                                             {"source", SourceIdentity(source.model, sha256)},
                                             {"calibration", ToJson(run.samples.provenance)}};
  reading.reset();
  std::optional<StatisticsWriter> writer;
  if (ranks.is_root()) writer.emplace(file, provenance, std::move(sites));
  Progress progress("collecting", int64_t(stages.size()));
  for (size_t i = 0; i < stages.size(); ++i) {
    CheckInterrupt();
    if (i + 1 < stages.size()) {
      source.executor.PrefetchWeights(source.executor.plan().segments()[i + 1]);
    }
    const StatisticsBySite statistics = ObserveTogether(run.calibrator, i, ranks, timings);
    const Stopwatch writing(timings.write);
    for (const auto& [id, sums] : statistics) {
      if (writer.has_value()) writer->Write(sums);
    }
    source.executor.DropWeights(source.executor.plan().segments()[i]);
    progress.Advance();
  }
  if (writer.has_value()) writer->Close();
}

}  // namespace

CollectReport CollectStatistics(const Recipe& recipe, const std::filesystem::path& file,
                                Ranks& ranks) {
  Timings timings;
  {
    const Stopwatch total(timings.total);
    Collect(recipe, file, ranks, timings);
  }
  CollectReport report;
  if (ranks.is_root()) report = Finished(StatisticsFile(file), file);
  report.timings = timings;
  report.peak_bytes = PeakResidentBytes(ranks);
  return report;
}

CollectReport MergeStatistics(std::span<const std::filesystem::path> files,
                              const std::filesystem::path& merged) {
  if (files.size() < 2) throw UsageError("--merge takes two or more statistics files");
  CheckOutputFile(merged, {files.begin(), files.end()});
  std::vector<StatisticsFile> parts;
  parts.reserve(files.size());
  for (const auto& file : files) parts.emplace_back(file);
  nlohmann::ordered_json calibrations = nlohmann::ordered_json::array();
  int64_t samples = 0, tokens = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto& provenance = parts[i].provenance();
    if (provenance.at("source") != parts[0].provenance().at("source")) {
      throw InputError("'" + files[i].string() + "' and '" + files[0].string() +
                       "' were collected on different models");
    }
    const auto& calibration = provenance.at("calibration");
    samples += calibration.at("samples").get<int64_t>();
    tokens += calibration.at("tokens").get<int64_t>();
    calibrations.push_back(calibration);
  }
  nlohmann::ordered_json provenance = parts[0].provenance();
  provenance["calibration"] = {
      {"samples", samples}, {"tokens", tokens}, {"merged", std::move(calibrations)}};
  StatisticsWriter writer(merged, provenance, parts[0].sites());
  for (const StoredSite& site : parts[0].sites()) {
    SiteStatistics sum = parts[0].Read(site.name);
    for (size_t i = 1; i < parts.size(); ++i) sum.Merge(parts[i].Read(site.name));
    writer.Write(sum);
  }
  writer.Close();
  CollectReport report = Finished(StatisticsFile(merged), merged);
  report.peak_bytes = PeakResidentBytes();
  return report;
}

}  // namespace ptq
