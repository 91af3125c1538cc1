// Does what a run does before its work, and nothing that leaves a trace.
#include "rehearse.h"

#include <string>

#include "cache_plan.h"
#include "checkpoint.h"
#include "destination/check_destination.h"
#include "destination/disk_space.h"
#include "destination/predict_files.h"
#include "destination/up_to_date.h"
#include "half_plan.h"
#include "prepare.h"
#include "road.h"
#include "witness_sample.h"

#include "ptq/base/error.h"
#include "ptq/base/hash.h"
#include "ptq/base/staged_directory.h"
#include "ptq/calibrate/calibration_run.h"
#include "ptq/calibrate/companions.h"
#include "ptq/search/segment_search.h"
#include "ptq/search/weight_rows.h"

namespace ptq {
namespace {

/// The sample of the verification must be one that can be made; without kernels there is none.
void TryWitness(const Recipe& recipe, const Source& source, const RunContext& context,
                const CalibrationRun* calibration, RunReport& report) {
  if (!recipe.verify) return;
  std::string why = WhyNotRun(source);
  try {
    if (why.empty()) (void)WitnessInputs(source, calibration, context.inputs);
  } catch (const UnsupportedError& error) {
    why = error.what();
  }
  if (!why.empty()) report.notes.push_back("the result cannot be verified: " + why);
}

/// Reads samples or statistics, but not what can be read only once: then the memory is that of as
/// many tokens as the recipe allows.
void TrySearch(const Recipe& recipe, Source& source, const RunOptions& options,
               const RunContext& context, RunReport& report) {
  const bool once = NeedsStatistics(recipe) && SamplesCanBeReadOnce(recipe);
  const bool goes_on = !once && !context.is_part && TakesOver(report.destination, options);
  // Statistics and an interrupted run tell their source by its hash, which is asked for by no
  // other.
  const bool hashes = goes_on || !recipe.statistics.empty();
  const std::string sha256 = hashes ? Sha256OfFile(source.model.path()) : "";
  const std::filesystem::path scratch = ScratchOf(report);
  Ranks alone = Ranks::Alone();
  SegmentSearch search(source, recipe, report.plan, alone, context.inputs, context.others);
  DiskNeed need;
  if (once) {
    report.predicted_peak_bytes = PredictPeak(source, recipe, report.plan);
    need.result = PredictResultBytes(report, recipe, SourceBytes(source.model));
  } else {
    need = StartSearch(search, {recipe, source, context, sha256, scratch}, report);
  }
  const std::filesystem::path staged = StagedDirectory::PathFor(report.destination);
  if (!context.is_part) CheckDiskSpace(staged, need);
  TryWitness(recipe, source, context, search.calibration(), report);
  if (!goes_on) return;
  const Checkpoint left(staged, IdentityOf(recipe, source, sha256, search));
}

}  // namespace

void Rehearse(const Recipe& recipe, Source& source, const RunOptions& options,
              const RunContext& context, RunReport& report) {
  if (!SamplesCanBeReadOnce(recipe)) TryObserving(source, recipe, context, report);
  TryObservingCaches(source, recipe, context, report);
  PredictFiles(source, recipe, context, report);
  TrySearch(recipe, source, options, context, report);
  CheckFiniteWeights(source.executor, report.plan);
}

RunReport RehearseRun(const Recipe& recipe, const RunOptions& options, Ranks& ranks) {
  CheckRanks(recipe, options, ranks);
  const std::filesystem::path destination = DestinationOf(recipe);
  const Replacement replacement = ReplacementOf(recipe);
  CheckDestinationOrResult(recipe, destination, Touch::kNothing);
  Companions companions({recipe.source}, recipe);
  Source& source = companions.source(0);
  RunContext context;
  context.inputs = InputsOf(companions, 0);
  RunReport report = StartReport(source, recipe, context);
  CheckModelFiles(source.model, report.destination);
  if (!options.force && HasCard(destination, options) &&
      !StagedDirectory::IsUnfinished(destination, replacement) &&
      IsUpToDate(recipe, source, context, options.earlier_file, report)) {
    report.notes.emplace_back(kUpToDateNote);
  } else {
    StagedDirectory::Check(destination, replacement, TakesOver(destination, options));
  }
  Rehearse(recipe, source, options, context, report);
  return report;
}

}  // namespace ptq
