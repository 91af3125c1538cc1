// One run, stage by stage, and what it leaves when it cannot go on.
#include "road.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <iterator>

#include "check_destination.h"
#include "checkpoint.h"
#include "disk_space.h"
#include "few_tokens.h"
#include "memory_plan.h"
#include "quality_warnings.h"
#include "segment_search.h"
#include "source.h"
#include "up_to_date.h"
#include "verify.h"
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "ptq/base/disk.h"
#include "ptq/base/error.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/memory.h"
#include "ptq/base/progress.h"
#include "ptq/base/staged_directory.h"
#include "ptq/base/stopwatch.h"
#include "ptq/emit/metadata.h"
#include "ptq/emit/model_check.h"
#include "ptq/emit/output_model.h"
#include "ptq/emit/sidecars.h"
#include "ptq/emit/stored_codes.h"
#include "ptq/emit/written_files.h"
#include "ptq/model/model_forms.h"
#include "ptq/pipeline/samples.h"
#include "ptq/runtime/refused_input.h"

namespace ptq {
namespace {

/// Largest relative difference that reordering of float32 sums, and roundings to binary16, explain.
constexpr double kFloatTolerance = 1e-3;
constexpr double kHalfTolerance = 2e-2;

constexpr char kGoesOn[] = " are kept, and the same command goes on from there";

/// Weights that are stored as FP16 count as rounded in the expectation, too.
std::vector<Linear> HalfLinears(const Plan& plan) {
  std::vector<Linear> halves;
  std::ranges::copy_if(plan.linears, std::back_inserter(halves),
                       [](const Linear& linear) { return linear.decision == Decision::kHalf; });
  return halves;
}

std::string Joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " and ") + name;
  return text;
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
        options_(options),
        files_(FilesOf(recipe, source, report.plan, context)),
        staged_(report.destination, ReplacementOf(recipe), TakesOver(report.destination, options)),
        output_(source.graph, report.plan, staged_.path(),
                {recipe.format, recipe.accuracy_level, recipe.half_floats, files_}),
        search_(source, recipe, report.plan, ranks, context) {
    if (TakesOver(report.destination, options)) staged_.Keep();  // whatever happens
  }

  void Travel() {
    try {
      Prepare();
      Quantize();
      FinishCheckpoint();
      Write();
      Verify();
      WriteMetadata(metadata_, staged_.path());
    } catch (const QualityError&) {
      staged_.Keep(false);  // it would be no better the next time
      throw;
    } catch (const Interrupted&) {
      if (!KeepCheckpoint()) {
        throw Interrupted(
            staged_.keeps() ? "interrupted; the checkpoint there was is kept, and the same command "
                              "goes on from there"
                            : "interrupted before the first checkpoint; nothing is kept");
      }
      throw Interrupted("interrupted after " + Finished() +
                        "; the same command goes on from there");
    } catch (const NoSpaceError& error) {
      const bool kept = KeepCheckpoint();
      throw NoSpaceError(error.what() + MissingText() +
                         (kept && !context_.is_part ? "; " + Finished() + kGoesOn : ""));
    } catch (const OutputError& error) {
      if (!KeepCheckpoint() || context_.is_part) throw;
      throw OutputError(std::string(error.what()) + "; " + Finished() + kGoesOn);
    } catch (...) {
      (void)KeepCheckpoint();
      throw;
    }
    checkpoint_->Remove();
    const Stopwatch watch(report_.timings.write);
    SaySidecars(metadata_.sidecars);
    staged_.Commit(WorthKeeping() || checkpoint_->segments() > 0 || staged_.Replaces());
  }

 private:
  void Quantize() {
    const auto& segments = source_.executor.plan().segments();
    const size_t searched = SegmentsToSearch(report_.plan);
    Progress progress("quantizing", int64_t(segments.size()));
    Replay();
    progress.Skip(int64_t(checkpoint_->segments()));
    for (size_t i = checkpoint_->segments(); i < segments.size(); ++i) {
      CheckInterrupt();
      if (i + 1 < segments.size()) source_.executor.PrefetchWeights(segments[i + 1]);
      if (i < searched) {
        QuantizeSegment(i);
      } else {
        ReleaseFreeMemory();  // no search will use it again
      }
      CarryExpectation(i);
      source_.executor.DropWeights(segments[i]);
      if (i + 1 < searched && report_.ranks == 1) SaveCheckpoint(i + 1);
      progress.Advance();
    }
  }

  /// Takes over what an interrupted run has finished.
  void Replay() {
    const nlohmann::ordered_json identity = {
        {"tool", PTQ_VERSION},
        {"recipe", ToJson(recipe_)},
        {"verify", recipe_.verify},
        {"source", SourceFiles(source_.model, description_.sha256)},
        {"samples", search_.Provenance()}};
    checkpoint_.emplace(staged_.path(), identity);
    if (checkpoint_->segments() == 0) {
      if (options_.resume) {
        spdlog::warn(
            "nothing to resume: no interrupted run of '{}' has left a checkpoint; starting",
            report_.destination.string());
      }
      return;
    }
    spdlog::info("resumed after {}, saved {} ago; --restart would start again", Finished(),
                 FormatSeconds(checkpoint_->Age()));
    for (const CheckpointRecord& record : checkpoint_->records()) {
      std::vector<std::pair<Site, std::vector<float>>> scaled;
      for (const ScaledSite& site : record.scaled) scaled.emplace_back(site.site, site.scale);
      output_.Replay(record.edits, scaled, record.biases);
      for (const auto& [linear, outcome] : record.outcomes) {
        search_.quantizer().Restore(linear, outcome);
        report_.outcomes[size_t(linear)].bytes_after = outcome.bytes_after;
      }
    }
    output_.Continue();
    if (auto* calibration = search_.calibration(); calibration != nullptr) {
      checkpoint_->LoadCuts(calibration->calibrator.cuts());
    }
    if (expectation_.has_value()) expectation_->Restore(checkpoint_->LoadExpectation());
    carried_ = report_.resumed_segments = checkpoint_->segments();
  }

  /// Nothing is saved while a shared weight waits for its other users.
  void SaveCheckpoint(size_t segments) {
    if (search_.quantizer().HasPending() || !WorthKeeping()) return;
    const Stopwatch watch(report_.timings.checkpoint);
    FinishCheckpoint();
    unsaved_.segments = segments;
    unsaved_.edits = output_.TakeEdits();
    std::optional<CutStore::Image> cuts;
    std::optional<Values> values;
    CalibrationRun* const calibration = search_.calibration();
    if (calibration != nullptr) cuts = calibration->calibrator.cuts().TakeImage();
    if (expectation_.has_value()) values = expectation_->values();
    const bool behind =
        calibration == nullptr || (calibration->memory.saves_behind && cuts->IsLasting());
    saving_ = std::async(behind ? std::launch::async : std::launch::deferred,
                         [this, record = std::exchange(unsaved_, {}), cuts = std::move(cuts),
                          values = std::move(values)]() mutable {
                           // The future keeps this function; what is saved should not wait for it.
                           const auto image = std::exchange(cuts, std::nullopt);
                           checkpoint_->Save(record, image, values);
                         });
    if (!behind) FinishCheckpoint();
    saved_ = std::chrono::steady_clock::now();
  }

  /// Waits until the last checkpoint is durable. Throws what saving it has thrown.
  void FinishCheckpoint() {
    if (saving_.valid()) saving_.get();
  }

  /// Leaves the last checkpoint, if there is one, for another run, when this one cannot go on.
  [[nodiscard]] bool KeepCheckpoint() {
    try {
      FinishCheckpoint();
    } catch (const std::exception& error) {  // the one before it still counts
      spdlog::warn("the last checkpoint could not be saved: {}", error.what());
    }
    if (!checkpoint_.has_value() || checkpoint_->segments() == 0) return false;
    staged_.Keep();
    return true;
  }

  /// How much room is missing, when the plan and the file system tell.
  [[nodiscard]] std::string MissingText() const {
    const int64_t missing = MissingBytes(staged_.path(), need_);
    return missing > 0 ? "; about " + FormatBytes(missing) + " more are needed there" : "";
  }

  [[nodiscard]] std::string Finished() const {
    return std::to_string(checkpoint_->segments()) + " of " +
           std::to_string(source_.executor.plan().segments().size()) + " segments";
  }

  /// Whether what was done since the last checkpoint takes longer to do again than a disk takes to
  /// make it durable.
  [[nodiscard]] bool WorthKeeping() const {
    const std::chrono::duration<double> lost = std::chrono::steady_clock::now() - saved_;
    return lost.count() >= options_.checkpoint_seconds;
  }

  /// Finds where statistics come from, and a sample to verify the result with.
  void Prepare() {
    const Stopwatch watch(report_.timings.read);
    description_ = DescribeSource(source_.model);
    search_.Start(description_.sha256, staged_.path());
    const CalibrationRun* const calibration = search_.calibration();
    const nlohmann::ordered_json provenance = search_.Provenance();
    if (!provenance.is_null()) {
      report_.samples = provenance.at("samples").get<int64_t>();
      report_.tokens = provenance.at("tokens").get<int64_t>();
      for (const auto& note : provenance.value("notes", nlohmann::ordered_json::array())) {
        report_.notes.push_back(note.get<std::string>());
      }
    }
    if (!search_.note().empty()) report_.notes.push_back(search_.note());
    if (const auto& others = source_.model.other_forms(); !others.empty()) {
      report_.notes.push_back("other forms of the model are left out: " + NamesOf(others));
    }
    if (!context_.makers.empty() && calibration != nullptr) {
      report_.notes.push_back("inputs made by " + Joined(context_.makers));
    }
    if (calibration != nullptr) {
      report_.predicted_peak_bytes = calibration->memory.peak_bytes;
    } else {
      CalibrationSize size{!provenance.is_null(), 0, 0, MethodOf(recipe_)};
      DescribeRun(recipe_, size);
      size.warm = context_.model > 0;
      report_.predicted_peak_bytes =
          PlanMemory(source_.executor, report_.plan, size, recipe_.memory_budget).peak_bytes;
    }
    need_ = {PredictResultBytes(report_, recipe_, SourceBytes(source_.model)),
             calibration != nullptr
                 ? PredictActivationBytes(report_.plan, report_.tokens, MethodOf(recipe_).propagate)
                 : 0};
    CheckDiskSpace(staged_.path(), need_);
    if (!recipe_.verify) {
      report_.verification.note = "not asked for (--no-verify)";
      return;
    }
    try {
      const TokenBlock sample =
          Fitted(calibration != nullptr ? BeginningOfLongest(calibration->samples.ids)
                                        : AnySample(VocabularySize(source_.graph)),
                 FixedTokenShape(source_.graph));
      const Feeder feeder =
          calibration != nullptr
              ? calibration->feeder
              : Feeder(source_.graph, ReadFeedHints(source_.model.directory()), context_.inputs);
      expectation_.emplace(source_.executor, feeder.Make(sample.ids, sample.batch, sample.length),
                           HalfLinears(report_.plan));
    } catch (const UnsupportedError& error) {
      DoWithoutVerification(error);
    }
  }

  void DoWithoutVerification(const Error& error) {
    report_.verification.note = error.what();
    spdlog::warn("not verified: {}", error.what());
    expectation_.reset();
  }

  void QuantizeSegment(size_t index) {
    SegmentResult result = search_.Run(index, report_.timings);
    const Stopwatch watch(report_.timings.pack);
    for (const ScaledSite& scaled : result.scaled) output_.ScaleSite(scaled.site, scaled.scale);
    for (const QuantizedLinear& linear : result.linears) {
      if (!linear.bias.empty()) {
        output_.AddBias(report_.plan.linears[size_t(linear.linear)], linear.bias);
        unsaved_.biases.emplace_back(linear.linear, linear.bias);
      }
      LinearOutcome outcome = search_.quantizer().outcomes()[size_t(linear.linear)];
      outcome.bytes_after =
          output_.Quantize(report_.plan.linears[size_t(linear.linear)], *linear.q);
      report_.outcomes[size_t(linear.linear)].bytes_after = outcome.bytes_after;
      unsaved_.outcomes.emplace_back(linear.linear, std::move(outcome));
    }
    for (ScaledSite& scaled : result.scaled) unsaved_.scaled.push_back(std::move(scaled));
    if (!expectation_.has_value()) return;
    operands_.merge(result.operands);
    additions_.merge(result.additions);
  }

  /// Shared weights are known only at their last site; until then the expectation waits.
  void CarryExpectation(size_t index) {
    if (!expectation_.has_value() || search_.quantizer().HasPending()) return;
    const Stopwatch watch(report_.timings.verify);
    const auto& segments = source_.executor.plan().segments();
    try {
      for (; carried_ <= index; ++carried_) {
        expectation_->Advance(segments[carried_], operands_, additions_);
      }
    } catch (const RefusedInput& error) {
      // A made-up sample may be none that the model can read: one traced for a single length, say.
      if (search_.calibration() != nullptr) throw;
      DoWithoutVerification(error);
    }
    operands_.clear();
    additions_.clear();
  }

  void Write() {
    const Progress progress("writing");
    const Stopwatch watch(report_.timings.write);
    for (size_t i = 0; i < report_.plan.linears.size(); ++i) {
      const Linear& linear = report_.plan.linears[i];
      LinearOutcome& outcome = report_.outcomes[i];
      if (linear.decision == Decision::kHalf) outcome.bytes_after = output_.StoreAsHalf(linear);
      if (linear.decision != Decision::kQuantize) continue;
      const LinearOutcome& found = search_.quantizer().outcomes()[i];
      const int64_t before = outcome.bytes_before;
      const int64_t after = outcome.bytes_after;
      outcome = found;
      outcome.bytes_before = before;
      outcome.bytes_after = after;
    }
    const std::string few = FewTokensNote(report_.plan, report_.outcomes);
    if (!few.empty()) report_.notes.push_back(few);
    for (std::string& warning : WarningsOf(report_.plan, report_.outcomes)) {
      report_.warnings.push_back(std::move(warning));
    }
    metadata_ = Describe();
    for (const auto& [key, value] : MetadataProps(metadata_)) output_.SetMetadata(key, value);
    output_.Finish();
    const bool alone = context_.is_part || !recipe_.model_name.empty();
    if (!alone) metadata_.sidecars = CopySidecars(source_.model, staged_.path(), files_);
    std::vector<std::filesystem::path> names = {files_.model, files_.data};
    names.insert(names.end(), metadata_.sidecars.copied.begin(), metadata_.sidecars.copied.end());
    metadata_.files = SizesOf(staged_.path(), names);
  }

  /// What the metadata says of the source, the recipe and every linear.
  [[nodiscard]] Metadata Describe() const {
    Metadata metadata;
    metadata.version = PTQ_VERSION;
    metadata.recipe = ToJson(recipe_);
    metadata.calibration = search_.Provenance();
    metadata.source = description_;
    metadata.notes = report_.notes;
    metadata.notes.insert(metadata.notes.end(), report_.warnings.begin(), report_.warnings.end());
    for (size_t i = 0; i < report_.plan.linears.size(); ++i) {
      const Linear& linear = report_.plan.linears[i];
      const LinearOutcome& outcome = report_.outcomes[i];
      LinearMetadata entry = DescribeLinear(source_.graph, linear);
      entry.bytes_before = outcome.bytes_before;
      entry.bytes_after = outcome.bytes_after;
      if (!outcome.note.empty()) entry.reason = outcome.note;
      if (linear.decision == Decision::kQuantize) {
        entry.quantized = LinearMetadata::Quantized{
            .spec = linear.spec,
            .scaling = outcome.scaling,
            .alpha = outcome.alpha,
            .fold = outcome.fold.empty() ? "none" : outcome.fold,
            .bias_corrected = outcome.bias_corrected,
            .loss_before = outcome.loss_rtn,
            .loss_after = outcome.loss,
            .energy = outcome.energy,
            .calibration_tokens = outcome.tokens,
        };
      }
      metadata.linears.push_back(std::move(entry));
    }
    return metadata;
  }

  void Verify() {
    const Progress progress("verifying");
    const Stopwatch watch(report_.timings.verify);
    ReleaseFreeMemory();
    if (recipe_.verify) CheckLoads(staged_.path() / files_.model, source_.model.proto());
    if (!expectation_.has_value()) return;
    const bool half = recipe_.half_floats || HasHalfLinears(report_.plan);
    report_.verification =
        expectation_->Check(staged_.path() / files_.model, half ? kHalfTolerance : kFloatTolerance);
    const Verification& check = report_.verification;
    if (!(check.max_relative <= check.tolerance)) {
      throw QualityError(
          "verification failed: the written model's outputs differ from the "
          "expected ones by " +
          std::to_string(check.max_relative) + " of their largest value (limit " +
          std::to_string(check.tolerance) + "); nothing was kept");
    }
    metadata_.verification = VerificationMetadata{check.max_relative, check.tolerance};
  }

  const Recipe& recipe_;
  const RunContext& context_;
  Source& source_;
  RunReport& report_;
  const RunOptions options_;
  const OutputFiles files_;
  /// The moment up to which nothing would be lost.
  std::chrono::steady_clock::time_point saved_ = std::chrono::steady_clock::now();
  StagedDirectory staged_;
  OutputModel output_;
  SegmentSearch search_;
  SourceDescription description_;
  Metadata metadata_;
  std::optional<Expectation> expectation_;
  std::optional<Checkpoint> checkpoint_;
  CheckpointRecord unsaved_;
  DiskNeed need_;
  std::future<void> saving_;  ///< of the last checkpoint; after what it uses
  DeferredWeights operands_;
  Values additions_;
  size_t carried_ = 0;
};

}  // namespace

size_t SegmentsToSearch(const Plan& plan) {
  size_t count = 0;
  for (const Site& site : plan.sites) count = std::max(count, site.segment + 1);
  return count;
}

bool HasHalfLinears(const Plan& plan) {
  return std::ranges::any_of(
      plan.linears, [](const Linear& linear) { return linear.operand_type != DType::kFloat32; });
}

bool TakesOver(const std::filesystem::path& destination, const RunOptions& options) {
  return !options.restart && Checkpoint::IsIn(StagedDirectory::PathFor(destination));
}

void TravelRoad(const Recipe& recipe, Source& source, Ranks& ranks, RunReport& report,
                const RunOptions& options, const RunContext& context) {
  Road(recipe, source, ranks, report, options, context).Travel();
}

}  // namespace ptq
