// The road as one call: plans, finds what is up to date, lets one rank travel and the others help.
#include "ptq/pipeline/run.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "byte_account.h"
#include "cache_plan.h"
#include "destination/check_destination.h"
#include "destination/predict_files.h"
#include "destination/up_to_date.h"
#include "half_plan.h"
#include "notes/float_copies.h"
#include "notes/quality_warnings.h"
#include "road.h"
#include "run_context.h"

#include "ptq/base/error.h"
#include "ptq/base/hash.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/memory.h"
#include "ptq/base/stopwatch.h"
#include "ptq/calibrate/calibration_run.h"
#include "ptq/calibrate/companions.h"
#include "ptq/calibrate/memory_plan.h"
#include "ptq/calibrate/source.h"
#include "ptq/emit/filter_form.h"
#include "ptq/emit/linear_form.h"
#include "ptq/emit/stored_codes.h"
#include "ptq/emit/table_form.h"
#include "ptq/search/segment_search.h"
#include "ptq/transform/equal_codes.h"

namespace ptq {
namespace {

/// Those of the recipe that are for this model.
std::vector<Rule> RulesOf(const Recipe& recipe, const Source& source, const RunContext& context) {
  std::vector<std::string> models = context.models;
  if (!context.is_part) models = {source.model.path().stem().string()};
  std::vector<Rule> all = recipe.fallback;
  all.insert(all.end(), recipe.rules.begin(), recipe.rules.end());
  std::vector<Rule> rules = RulesFor(all, context.is_part ? context.name : models.front(), models);
  for (Rule& rule : rules) {
    // Where the run has no codes, who asks for bits means those of the format.
    if (IsHalfMethod(recipe) && rule.form.empty() && rule.ChoosesForm()) rule.form = recipe.format;
  }
  return rules;
}

/// A method that looks at activations has to run the model, but for a file of statistics.
void CheckRuns(const Source& source, const Recipe& recipe, const Plan& plan) {
  const bool runs = NeedsStatistics(recipe) && recipe.statistics.empty();
  const bool searches = std::ranges::any_of(plan.linears, [](const Linear& linear) {
    return linear.decision.quantizes() && !linear.decision.known && linear.table < 0;
  });
  if (!runs || !searches) return;
  const std::string why = WhyNotRun(source);
  if (!why.empty()) {
    throw UnsupportedError(why + "; --method rtn quantizes the model without running it");
  }
}

/// A run on the other ranks: their part of each segment.
void Help(const Recipe& recipe, Source& source, Ranks& ranks, RunReport& report,
          const RunContext& context) {
  SegmentSearch search(source, recipe, report.plan, ranks, context.inputs, context.others);
  search.Start(Sha256OfFile(source.model.path()), ScratchOf(report));
  const size_t searched = SegmentsToSearch(report.plan);
  for (size_t i = 0; i < searched; ++i) {
    CheckInterrupt();
    (void)search.Run(i, report.timings);
    source.executor.DropWeights(source.executor.plan().segments()[i]);
  }
}

/// What the source's file holds for a linear; of a weight that is stored as codes its share of
/// these.
int64_t BytesInSource(const Source& source, const Linear& linear) {
  const int64_t part = StoredBytes(source.graph, linear);
  if (linear.stored == kNoValue) return part;
  const int64_t whole = StoredBytes(source.graph, linear.stored);
  const int64_t held =
      source.model.weights().SizeInFile(*source.graph.value(linear.stored).constant);
  if (part == whole || held == whole) return held == whole ? part : held;
  return int64_t(double(held) * double(part) / double(whole));
}

/// Bytes of each subject, before and after.
void SetSizes(const Source& source, const Recipe& recipe, RunReport& report) {
  report.outcomes.resize(report.plan.linears.size());
  const std::vector<int> firsts =
      FirstWithEqualCodes(source.graph, report.plan, !NeedsStatistics(recipe));
  std::set<ValueId> counted;
  for (size_t i = 0; i < report.plan.linears.size(); ++i) {
    const Linear& linear = report.plan.linears[i];
    Outcome& outcome = report.outcomes[i];
    outcome.bytes_before = BytesInSource(source, linear);
    outcome.bytes_after = linear.decision.keeps() ? outcome.bytes_before : linear.decision.bytes;
    const bool again = !counted.insert(linear.part).second;
    if (again) outcome.bytes_before = 0;
    const bool repeats = linear.decision.quantizes() ? firsts[i] != int(i) : again;
    if (!repeats) continue;
    outcome.bytes_after =
        linear.decision.form->BytesAgain(FactsOf(source.graph, linear), linear.decision.parameters);
  }
  report.tables.resize(report.plan.tables.size());
  for (size_t i = 0; i < report.plan.tables.size(); ++i) {
    const Table& table = report.plan.tables[i];
    Outcome& outcome = report.tables[i];
    outcome.bytes_before = BytesOf(table.stored_type, table.n * table.k);
    outcome.bytes_after = table.decision.bytes;
  }
  report.constants.resize(report.plan.constants.size());
  for (size_t i = 0; i < report.plan.constants.size(); ++i) {
    const Constant& constant = report.plan.constants[i];
    report.constants[i].bytes_before = BytesOf(constant.stored_type, constant.n * constant.k);
    report.constants[i].bytes_after = constant.decision.bytes;
  }
}

}  // namespace

std::string WhyNotRun(const Source& source) {
  try {
    source.executor.plan().RequireKernels();
    return "";
  } catch (const UnsupportedError& error) {
    return error.what();
  }
}

std::filesystem::path ScratchOf(const RunReport& report) {
  std::error_code error;
  auto directory = std::filesystem::absolute(report.destination).parent_path();
  while (!std::filesystem::is_directory(directory, error)) directory = directory.parent_path();
  return directory;
}

RunReport StartReport(const Source& source, const Recipe& recipe, const RunContext& context) {
  RunReport report;
  CheckForms(recipe);
  CheckCacheRecipe(recipe, context);
  const LinearForm& form = FindLinearForm(recipe.format);
  PlanOptions options = PlanOptionsOf(recipe, form);
  options.table_codes = &form.tables();
  options.filter_codes = FilterForms().front();
  options.forms = CodeForms();
  options.rules = RulesOf(recipe, source, context);
  options.patterns_must_match = !context.is_part;
  report.plan = MakePlan(source.executor.plan(), options);
  if (!context.is_part) CheckRuns(source, recipe, report.plan);
  if (const auto& others = context.others; others.common != nullptr) {
    others.common->Restrict(others.model, report.plan);
  }
  report.destination = DestinationOf(recipe);
  report.source = recipe.source;
  report.model_file = report.destination / FilesOf(recipe, source, report.plan, context).model;
  report.reads_tokens = source.graph.Find("input_ids") != kNoValue;
  report.warnings = WarningsOf(report.plan);
  report.notes = FloatCopyNotes(source, report.plan);
  PlanCacheSamples(recipe, report.plan);
  if (report.plan.caches.has_value()) report.notes.push_back(CacheNote(*report.plan.caches));
  DecideHalves(source, report);
  SetSizes(source, recipe, report);
  report.bytes_before = SourceBytes(source.model);
  AccountFor(source, recipe, report);
  return report;
}

/// Whether the model is given what it has computed before as FP32.
static bool HasFloatCache(const Graph& graph) {
  return std::ranges::any_of(graph.graph_inputs(), [&](ValueId id) {
    return graph.value(id).name.starts_with("past") &&
           graph.DeclaredType(id).dtype == DType::kFloat32;
  });
}

void CheckRanks(const Recipe& recipe, const RunOptions& options, const Ranks& ranks) {
  if (ranks.size() == 1) return;
  if (options.resume) {
    throw UsageError("--resume goes on with a run of one rank, and several keep no checkpoints");
  }
  const std::filesystem::path destination = DestinationOf(recipe);
  if (!ranks.is_root() || !TakesOver(destination, options)) return;
  throw UsageError("'" + destination.string() +
                   "' has a checkpoint of a run of one rank, which several cannot go on with; run "
                   "the same command without mpirun, or give it up with --restart");
}

bool HasHalfLinears(const Plan& plan) {
  return std::ranges::any_of(
      plan.linears, [](const Linear& linear) { return linear.operand_type != DType::kFloat32; });
}

OutputFiles FilesOf(const Recipe& recipe, const Source& source, const Plan& plan,
                    const RunContext& context) {
  OutputFiles files;
  if (!recipe.model_name.empty()) {
    files = FilesIn({}, recipe.model_name);
  } else if (context.is_part && recipe.layout != Layout::kTransformersJs) {
    files = FilesIn(context.folder, source.model.path().filename());
  } else {
    files = FilesOf(recipe.layout, source.model.path(),
                    IsHalfMethod(recipe) ? 16 : StoredBits(recipe.bits),
                    !IsHalfMethod(recipe) && HasHalfLinears(plan),
                    IsHalfMethod(recipe) ? nullptr : FindLinearForm(recipe.format).codebook());
  }
  files.half_cache = plan.half.has_value() && plan.half->io && HasFloatCache(source.graph);
  files.most_bytes = recipe.max_file_size;
  return files;
}

void Travel(const Recipe& recipe, Source& source, Ranks& ranks, RunReport& report,
            const RunOptions& options, const RunContext& context) {
  report.ranks = ranks.size();
  if (ranks.is_root()) ObserveCaches(source, recipe, context, report);
  if (report.plan.half.has_value()) {
    ObserveLargeValues(source, recipe, context, report);
    if (!report.plan.half->large.empty()) {  // else all is as it was planned
      DecideHalves(source, report);
      SetSizes(source, recipe, report);
    }
  }
  PredictFiles(source, recipe, context, report);
  if (ranks.is_root()) {
    TravelRoad(recipe, source, ranks, report, options, context);
  } else {
    Help(recipe, source, ranks, report, context);
  }
  report.peak_bytes = PeakResidentBytes(ranks);
  std::error_code error;
  const OutputFiles files = FilesOf(recipe, source, report.plan, context);
  std::vector<std::filesystem::path> written = DataFilesIn(report.destination, files);
  written.push_back(files.model);
  for (const auto& path : written) {
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
  CalibrationSize size{NeedsStatistics(recipe), 0, 0, LargestMethodOf(recipe)};
  if (size.statistics && recipe.statistics.empty()) {  // at most: nothing is read yet
    size.tokens = recipe.calibration.samples * recipe.calibration.seq_len;
    size.longest = recipe.calibration.seq_len;
  }
  AddRecipe(recipe, size);
  AddReading(size);
  return PlanMemory(source.executor, plan, size, recipe.memory_budget).peak_bytes;
}

RunReport PlanRun(const Recipe& recipe) {
  Companions companions({recipe.source}, recipe);
  Source& source = companions.source(0);
  RunContext context;
  context.inputs = InputsOf(companions, 0);
  RunReport report = StartReport(source, recipe, context);
  PredictFiles(source, recipe, context, report);
  report.predicted_peak_bytes = PredictPeak(source, recipe, report.plan);
  return report;
}

RunReport Run(const Recipe& recipe, const RunOptions& options) {
  Ranks alone = Ranks::Alone();
  return Run(recipe, options, alone);
}

RunReport Run(const Recipe& recipe, const RunOptions& options, Ranks& ranks) {
  CheckRanks(recipe, options, ranks);
  const auto start = std::chrono::steady_clock::now();
  if (ranks.is_root()) {
    CheckDestinationOrResult(recipe, DestinationOf(recipe), Touch::kUnfinished);
  }
  Companions companions({recipe.source}, recipe);
  double read = 0;
  {
    const Stopwatch watch(read);
    (void)companions.source(0);
  }
  RunContext context;
  context.inputs = InputsOf(companions, 0);
  RunReport report = StartReport(companions.source(0), recipe, context);
  if (ranks.is_root()) CheckModelFiles(companions.source(0).model, report.destination);
  report.timings.read = read;
  if (!options.force && HasCard(report.destination, options) &&
      FindsUpToDate(recipe, companions.source(0), context, options.earlier_file, ranks, report)) {
    return report;
  }
  Travel(recipe, companions.source(0), ranks, report, options, context);
  report.timings.total =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace ptq
