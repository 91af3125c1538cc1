// The road as one call: plans, finds what is up to date, lets one rank travel and the others help.
#include "ptq/pipeline/run.h"

#include <chrono>
#include <set>

#include "byte_account.h"
#include "check_destination.h"
#include "companions.h"
#include "float_copies.h"
#include "memory_plan.h"
#include "quality_warnings.h"
#include "road.h"
#include "run_context.h"
#include "segment_search.h"
#include "source.h"
#include "up_to_date.h"

#include "ptq/base/error.h"
#include "ptq/base/hash.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/memory.h"
#include "ptq/base/stopwatch.h"
#include "ptq/emit/linear_format.h"
#include "ptq/emit/stored_codes.h"

namespace ptq {
namespace {

void CheckSpecs(const Plan& plan, const LinearFormat& format) {
  for (const Linear& linear : plan.linears) {
    if (linear.decision == Decision::kQuantize) format.CheckSpec(AsStored(linear.spec));
  }
}

/// Where another rank keeps what does not fit into its memory: the destination may not exist there.
std::filesystem::path ScratchOf(const RunReport& report) {
  std::error_code error;
  auto directory = std::filesystem::absolute(report.destination).parent_path();
  while (!std::filesystem::is_directory(directory, error)) directory = directory.parent_path();
  return directory;
}

/// A run on the other ranks: their part of each segment.
void Help(const Recipe& recipe, Source& source, Ranks& ranks, RunReport& report,
          const RunContext& context) {
  SegmentSearch search(source, recipe, report.plan, ranks, context);
  search.Start(Sha256OfFile(source.model.path()), ScratchOf(report));
  const size_t searched = SegmentsToSearch(report.plan);
  for (size_t i = 0; i < searched; ++i) {
    CheckInterrupt();
    (void)search.Run(i, report.timings);
    source.executor.DropWeights(source.executor.plan().segments()[i]);
  }
}

}  // namespace

RunReport StartReport(const Source& source, const Recipe& recipe, const RunContext& context) {
  RunReport report;
  PlanOptions options = PlanOptionsOf(recipe);
  options.patterns_must_match = !context.is_part;
  report.plan = MakePlan(source.executor.plan(), options);
  if (context.shared != nullptr) context.shared->Restrict(context.model, report.plan);
  CheckSpecs(report.plan, FindLinearFormat(recipe.format));
  report.destination = DestinationOf(recipe);
  report.source = recipe.source;
  report.model_file = report.destination / FilesOf(recipe, source, report.plan, context).model;
  report.reads_tokens = source.graph.Find("input_ids") != kNoValue;
  report.warnings = WarningsOf(report.plan);
  report.outcomes.resize(report.plan.linears.size());
  std::set<ValueId> counted;
  for (size_t i = 0; i < report.plan.linears.size(); ++i) {
    const Linear& linear = report.plan.linears[i];
    LinearOutcome& outcome = report.outcomes[i];
    outcome.bytes_before =
        linear.stored == kNoValue || linear.part != linear.stored
            ? StoredBytes(source.graph, linear)
            : source.model.weights().SizeInFile(*source.graph.value(linear.stored).constant);
    outcome.bytes_after =
        linear.decision == Decision::kKeep ? outcome.bytes_before : ResultBytes(linear);
    if (!counted.insert(linear.part).second) outcome.bytes_before = outcome.bytes_after = 0;
  }
  report.notes = FloatCopyNotes(source, report.plan, recipe);
  report.bytes_before = SourceBytes(source.model);
  AccountFor(source, recipe, report);
  return report;
}

OutputFiles FilesOf(const Recipe& recipe, const Source& source, const Plan& plan,
                    const RunContext& context) {
  if (!recipe.model_name.empty()) return FilesIn({}, recipe.model_name);
  if (context.is_part && recipe.layout != Layout::kTransformersJs) {
    return FilesIn(context.folder, source.model.path().filename());
  }
  return FilesOf(recipe.layout, source.model.path(), StoredBits(recipe.bits), HasHalfLinears(plan));
}

void Travel(const Recipe& recipe, Source& source, Ranks& ranks, RunReport& report,
            const RunOptions& options, const RunContext& context) {
  report.ranks = ranks.size();
  if (ranks.size() > 1 && ranks.is_root() && TakesOver(report.destination, options)) {
    throw UsageError(
        "'" + report.destination.string() +
        "' has a checkpoint of a run of one rank, which several cannot go on with; run "
        "the same command without mpirun, or give it up with --restart");
  }
  if (ranks.is_root()) {
    TravelRoad(recipe, source, ranks, report, options, context);
  } else {
    Help(recipe, source, ranks, report, context);
  }
  report.peak_bytes = PeakResidentBytes(ranks);
  std::error_code error;
  const OutputFiles files = FilesOf(recipe, source, report.plan, context);
  for (const auto& path : {files.model, files.data}) {
    const auto size = std::filesystem::file_size(report.destination / path, error);
    if (!error) report.bytes_after += static_cast<int64_t>(size);
  }
  AccountFor(source, recipe, report);
}

namespace {

/// Rank 0 looks, for all.
bool FindsUpToDate(const Recipe& recipe, const Source& source, const RunContext& context,
                   const std::filesystem::path& earlier_file, Ranks& ranks, RunReport& report) {
  std::string found;
  if (ranks.is_root() && IsUpToDate(recipe, source, context, earlier_file, report)) found = "yes";
  if (ranks.size() > 1) ranks.Copy(found, 0, Ranks::kEveryone);
  report.up_to_date = !found.empty();
  return report.up_to_date;
}

}  // namespace

int64_t PredictPeak(const Source& source, const Recipe& recipe, const Plan& plan) {
  const Method method = MethodOf(recipe);
  CalibrationSize size{NeedsStatistics(method), 0, 0, method};
  if (size.statistics && recipe.statistics.empty()) {  // at most: nothing is read yet
    size.tokens = recipe.calibration.samples * recipe.calibration.seq_len;
    size.longest = recipe.calibration.seq_len;
  }
  DescribeRun(recipe, size);
  AddReading(size);
  return PlanMemory(source.executor, plan, size, recipe.memory_budget).peak_bytes;
}

RunReport PlanRun(const Recipe& recipe) {
  const Source source(recipe.source, recipe.requantize);
  RunReport report = StartReport(source, recipe, {});
  report.predicted_peak_bytes = PredictPeak(source, recipe, report.plan);
  return report;
}

RunReport Run(const Recipe& recipe, const RunOptions& options) {
  Ranks alone = Ranks::Alone();
  return Run(recipe, options, alone);
}

RunReport Run(const Recipe& recipe, const RunOptions& options, Ranks& ranks) {
  if (options.resume && ranks.size() > 1) {
    throw UsageError("--resume goes on with a run of one rank, and several keep no checkpoints");
  }
  const auto start = std::chrono::steady_clock::now();
  if (ranks.is_root()) CheckDestinationOrResult(recipe, DestinationOf(recipe));
  Companions companions({recipe.source}, recipe);
  double read = 0;
  {
    const Stopwatch watch(read);
    (void)companions.source(0);
  }
  const RunContext context = ContextOf(companions, 0);
  RunReport report = StartReport(companions.source(0), recipe, context);
  if (ranks.is_root()) CheckModelFiles(companions.source(0).model, report.destination);
  report.timings.read = read;
  if (!options.force &&
      FindsUpToDate(recipe, companions.source(0), context, options.earlier_file, ranks, report)) {
    return report;
  }
  Travel(recipe, companions.source(0), ranks, report, options, context);
  report.timings.total =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace ptq
