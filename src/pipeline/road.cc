// One run, stage by stage, and what it leaves when it cannot go on.
#include "road.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "checkpoint.h"
#include "describe_run.h"
#include "destination/check_destination.h"
#include "destination/disk_space.h"
#include "destination/up_to_date.h"
#include "journal.h"
#include "notes/few_tokens.h"
#include "notes/quality_warnings.h"
#include "prepare.h"
#include "witness.h"
#include "witness_sample.h"
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "ptq/base/disk.h"
#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/format.h"
#include "ptq/base/hash.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/memory.h"
#include "ptq/base/progress.h"
#include "ptq/base/staged_directory.h"
#include "ptq/base/stopwatch.h"
#include "ptq/calibrate/memory_plan.h"
#include "ptq/calibrate/samples.h"
#include "ptq/calibrate/source.h"
#include "ptq/emit/metadata.h"
#include "ptq/emit/model_check.h"
#include "ptq/emit/output_model.h"
#include "ptq/emit/sidecars.h"
#include "ptq/emit/stored_codes.h"
#include "ptq/emit/written_files.h"
#include "ptq/model/model_forms.h"
#include "ptq/search/accuracy_levels.h"
#include "ptq/search/filter_codes.h"
#include "ptq/search/segment_search.h"
#include "ptq/search/table_codes.h"

namespace ptq {
namespace {

/// One more vector [N] to add to a value's rows.
void AddTo(Tensor& addition, std::vector<float> more) {
  if (addition.defined()) {
    const auto known = addition.data<float>();
    for (size_t i = 0; i < more.size(); ++i) more[i] += known[i];
  }
  addition = Tensor::From<float>({std::ssize(more)}, more);
}

constexpr char kGoesOn[] = " are kept, and the same command goes on from there";

/// Whether rules store tables as FP16, whose rows the expectation does not round.
bool HalvesTables(const Plan& plan) {
  return std::ranges::any_of(plan.tables, [](const Table& table) {
    return table.decision.ruled && table.decision.halves();
  });
}

/// One run, on rank 0: the state that the road's stages hand on.
class Road {
 public:
  Road(const Recipe& recipe, Source& source, Ranks& ranks, RunReport& report,
       const RunOptions& options, const RunContext& context)
      : recipe_(recipe),
        context_(context),
        source_(source),
        report_(report),
        resumes_(options.resume),
        options_(options),
        files_(FilesOf(recipe, source, report.plan, context)),
        staged_(report.destination, ReplacementOf(recipe), TakesOver(report.destination, options)),
        output_(source.graph, report.plan, staged_.path(), files_),
        search_(source, recipe, report.plan, ranks, context.inputs, context.others),
        journal_(staged_, output_, report.plan, options.checkpoint_seconds),
        witness_(source.executor, report.plan,
                 recipe.half_floats || ComputesInHalf(recipe) || HalvesTables(report.plan)) {}

  void Travel() {
    try {
      Prepare();
      Quantize();
      journal_.Finish();
      Write();
      Verify();
      Judge();
      WriteCard();
      WriteMetadata(metadata_, staged_.path());
    } catch (const QualityError&) {
      staged_.Keep(false);  // it would be no better the next time
      throw;
    } catch (const Interrupted&) {
      if (!journal_.Keep()) {
        throw Interrupted(
            staged_.keeps() ? "interrupted; the checkpoint there was is kept, and the same command "
                              "goes on from there"
                            : "interrupted before the first checkpoint; nothing is kept");
      }
      throw Interrupted("interrupted after " + Finished() +
                        "; the same command goes on from there");
    } catch (const NoSpaceError& error) {
      const bool kept = journal_.Keep();
      throw NoSpaceError(error.what() + MissingText() +
                         (kept && !context_.is_part ? "; " + Finished() + kGoesOn : ""));
    } catch (const OutputError& error) {
      if (!journal_.Keep() || context_.is_part) throw;
      throw OutputError(std::string(error.what()) + "; " + Finished() + kGoesOn);
    } catch (...) {
      (void)journal_.Keep();
      throw;
    }
    const Stopwatch watch(report_.timings.write);
    SaySidecars(metadata_.sidecars);
    journal_.Commit();
  }

 private:
  void Quantize() {
    const auto& segments = source_.executor.plan().segments();
    const size_t searched = SegmentsToSearch(report_.plan);
    Progress progress("quantizing", int64_t(segments.size()));
    TakeOver();
    if (journal_.segments() == 0) {
      QuantizeTables();
      QuantizeFilters();
    }
    DeferredWeights others = TableOperands(source_.graph, report_.plan);
    others.merge(FilterOperands(source_.graph, report_.plan));
    witness_.TakeOthers(std::move(others));
    progress.Skip(int64_t(journal_.segments()));
    for (size_t i = journal_.segments(); i < segments.size(); ++i) {
      CheckInterrupt();
      if (i + 1 < segments.size()) source_.executor.PrefetchWeights(segments[i + 1]);
      if (i < searched) {
        QuantizeSegment(i);
      } else {
        ReleaseFreeMemory();  // no search will use it again
      }
      // Reused weights are known only at their last site: until then the witness waits.
      if (!search_.quantizer().HasPending()) {
        const Stopwatch watch(report_.timings.verify);
        witness_.AdvanceTo(i + 1);
      }
      source_.executor.DropWeights(segments[i]);
      if (i + 1 < searched && report_.ranks == 1) Save(i + 1);
      progress.Advance();
    }
  }

  /// Goes on with what an interrupted run has finished.
  void TakeOver() {
    journal_.Open(IdentityOf(recipe_, source_, description_.sha256, search_));
    if (journal_.segments() == 0) {
      if (resumes_) {
        spdlog::warn("nothing to resume: no interrupted run of '" + report_.destination.string() +
                     "' has left a checkpoint; starting");
      }
      return;
    }
    spdlog::info("resumed after " + Finished() + ", saved " + FormatSeconds(journal_.Age()) +
                 " ago; --restart would start again");
    const Journal::Outcomes outcomes = journal_.Replay();
    for (const auto& [table, outcome] : outcomes.tables) report_.tables[size_t(table)] = outcome;
    for (const auto& [constant, outcome] : outcomes.filters) {
      report_.constants[size_t(constant)] = outcome;
    }
    for (const auto& [linear, outcome] : outcomes.linears) {
      search_.quantizer().Restore(linear, outcome);
      report_.outcomes[size_t(linear)].bytes_after = outcome.bytes_after;
    }
    if (auto* calibration = search_.calibration(); calibration != nullptr) {
      journal_.LoadCuts(calibration->calibrator.cuts());
    }
    if (witness_.values() != nullptr) {
      witness_.Restore(journal_.LoadExpectation(), journal_.segments());
    }
    report_.resumed_segments = journal_.segments();
  }

  /// Nothing is saved while a reused weight waits for its other users.
  void Save(size_t segments) {
    if (search_.quantizer().HasPending() || !journal_.WorthKeeping()) return;
    const Stopwatch watch(report_.timings.checkpoint);
    CalibrationRun* const calibration = search_.calibration();
    journal_.Save(segments, calibration == nullptr ? nullptr : &calibration->calibrator.cuts(),
                  witness_.values(), calibration == nullptr || calibration->memory.saves_behind);
  }

  /// How much room is missing, when the plan and the file system tell.
  [[nodiscard]] std::string MissingText() const {
    const int64_t missing = MissingBytes(staged_.path(), need_);
    return missing > 0 ? "; about " + FormatBytes(missing) + " more are needed there" : "";
  }

  [[nodiscard]] std::string Finished() const {
    return std::to_string(journal_.segments()) + " of " +
           std::to_string(source_.executor.plan().segments().size()) + " segments";
  }

  /// Finds where statistics come from, and a sample to verify the result with.
  void Prepare() {
    const Stopwatch watch(report_.timings.read);
    description_ = DescribeSource(source_.model);
    source_hashes_.emplace(DataFilesOf(source_.model));
    need_ = StartSearch(search_, {recipe_, source_, context_, description_.sha256, staged_.path()},
                        report_);
    CheckDiskSpace(staged_.path(), need_);
    CallWitness();
  }

  void CallWitness() {
    if (!recipe_.verify) {
      witness_.Dismiss("not asked for (--no-verify)");
      return;
    }
    const CalibrationRun* const calibration = search_.calibration();
    try {
      witness_.Begin(WitnessInputs(source_, calibration, context_.inputs),
                     calibration != nullptr ? Witness::Sample::kReal : Witness::Sample::kMadeUp);
    } catch (const UnsupportedError& error) {
      witness_.Excuse(error);
    }
  }

  /// Nothing but the weights decides their codes, and the first segment looks rows up.
  void QuantizeTables() {
    const Stopwatch watch(report_.timings.search);
    for (size_t i = 0; i < report_.plan.tables.size(); ++i) {
      const Table& table = report_.plan.tables[i];
      if (!table.decision.quantizes()) continue;
      Progress::ShowDetail("searching " + table.name);
      const TableCodes codes(source_.graph, table);
      Outcome& outcome = report_.tables[i];
      const auto rows = [&](int64_t begin, int64_t end) {
        return codes.Rows(begin, end, &outcome);
      };
      journal_.QuantizeTable(int(i), rows, outcome);
    }
  }

  /// As those of tables; they are small enough to be held as a whole.
  void QuantizeFilters() {
    const Stopwatch watch(report_.timings.search);
    for (size_t i = 0; i < report_.plan.constants.size(); ++i) {
      const Constant& filters = report_.plan.constants[i];
      if (!filters.decision.quantizes()) continue;
      CheckInterrupt();
      Progress::ShowDetail("searching " + filters.name);
      Outcome& outcome = report_.constants[i];
      const QuantizedMatrix q = FilterCodes(source_.graph, filters, &outcome);
      journal_.QuantizeFilters(int(i), q, outcome);
    }
  }

  void QuantizeSegment(size_t index) {
    SegmentResult result = search_.Run(index, report_.timings);
    const Stopwatch watch(report_.timings.pack);
    for (ScaledSite& scaled : result.scaled) journal_.ScaleSite(std::move(scaled));
    for (QuantizedLinear& found : result.linears) {
      if (!found.bias.empty()) journal_.AddBias(found.linear, std::move(found.bias));
      const auto linear = size_t(found.linear);
      report_.outcomes[linear].bytes_after =
          journal_.Quantize(found.linear, *found.q, search_.quantizer().outcomes()[linear]);
    }
    for (auto& [value, error] : output_.TakeAddendErrors()) {
      AddTo(result.edits.additions[value], std::move(error));
    }
    witness_.Take(std::move(result.operands), result.edits);
  }

  void Write() {
    const Progress progress("writing");
    const Stopwatch watch(report_.timings.write);
    CollectOutcomes();
    SetAccuracyLevels();
    for (const std::string& note : {FewTokensNote(report_.plan, report_.outcomes),
                                    AccuracyLevelNote(report_.plan, report_.outcomes)}) {
      if (!note.empty()) report_.notes.push_back(note);
    }
    for (std::string& warning : WarningsOf(report_.plan, report_.outcomes)) {
      report_.warnings.push_back(std::move(warning));
    }
    description_.Enter(source_hashes_->Take());
    metadata_ = DescribeRun(recipe_, source_.graph, description_, search_.Provenance(), report_);
    for (const auto& [key, value] : MetadataProps(metadata_)) output_.SetMetadata(key, value);
    output_.Finish();
    const bool alone = context_.is_part || !recipe_.model_name.empty();
    if (!alone) metadata_.sidecars = CopySidecars(source_.model, staged_.path(), files_);
    std::vector<std::filesystem::path> names = DataFilesIn(staged_.path(), files_);
    names.insert(names.begin(), files_.model);
    names.insert(names.end(), metadata_.sidecars.copied.begin(), metadata_.sidecars.copied.end());
    if (!context_.is_part) metadata_.files = DescribeFiles(staged_.path(), names);
  }

  void SetAccuracyLevels() {
    ChooseAccuracyLevels(report_.plan, RunKindOf(source_.graph), report_.outcomes);
    for (size_t i = 0; i < report_.outcomes.size(); ++i) {
      const int64_t level = report_.outcomes[i].accuracy_level;
      if (level >= 0) output_.SetAccuracyLevel(report_.plan.linears[i], int(level));
    }
  }

  /// What became of every linear.
  void CollectOutcomes() {
    for (size_t i = 0; i < report_.plan.linears.size(); ++i) {
      const Linear& linear = report_.plan.linears[i];
      Outcome& outcome = report_.outcomes[i];
      if (linear.decision.halves() && linear.is_head && !report_.plan.half.has_value()) {
        outcome.bytes_after = output_.StoreAsHalf(linear);
      }
      if (!linear.decision.quantizes()) continue;
      const Outcome& found = linear.table >= 0 ? report_.tables[size_t(linear.table)]
                                               : search_.quantizer().outcomes()[i];
      const int64_t before = outcome.bytes_before;
      const int64_t after = outcome.bytes_after;
      outcome = found;
      outcome.bytes_before = before;
      outcome.bytes_after = after;
    }
  }

  void Verify() {
    const Progress progress("verifying");
    const Stopwatch watch(report_.timings.verify);
    ReleaseFreeMemory();
    if (recipe_.verify) CheckLoads(staged_.path() / files_.model, source_.model.proto());
    report_.verification = witness_.Check(staged_.path() / files_.model);
    const Verification& check = report_.verification;
    if (check.done) metadata_.verification = {check.max_relative, check.tolerance};
  }

  /// Of several models, the whole directory is judged.
  void Judge() {
    if (!options_.judge || context_.is_part) return;
    report_.gate = metadata_.gate =
        options_.judge(staged_.path() / files_.model, ToJson(metadata_));
  }

  void WriteCard() {
    if (options_.card.empty() || context_.is_part) return;
    WriteFile(staged_.path() / options_.card,
              options_.write_card(staged_.path(), ToJson(metadata_)));
    metadata_.model_card = options_.card;
    Relist(staged_.path(), options_.card, metadata_.files);
  }

  const Recipe& recipe_;
  const RunContext& context_;
  Source& source_;
  RunReport& report_;
  const bool resumes_;
  const RunOptions& options_;
  const OutputFiles files_;
  StagedDirectory staged_;
  OutputModel output_;
  SegmentSearch search_;
  Journal journal_;
  Witness witness_;
  SourceDescription description_;
  std::optional<FileHashes> source_hashes_;  ///< of its data files, found while it is quantized
  Metadata metadata_;
  DiskNeed need_;
};

}  // namespace

size_t SegmentsToSearch(const Plan& plan) {
  size_t count = 0;
  for (const Site& site : plan.sites) count = std::max(count, site.segment + 1);
  return count;
}

bool TakesOver(const std::filesystem::path& destination, const RunOptions& options) {
  return !options.restart && Checkpoint::IsIn(StagedDirectory::PathFor(destination));
}

void TravelRoad(const Recipe& recipe, Source& source, Ranks& ranks, RunReport& report,
                const RunOptions& options, const RunContext& context) {
  Road(recipe, source, ranks, report, options, context).Travel();
}

}  // namespace ptq
