#include "ptq/pipeline/run.h"

#include <chrono>
#include <limits>
#include <set>

#include "checkpoint.h"
#include "predict.h"
#include "segment_quantizer.h"
#include "verify.h"
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/memory.h"
#include "ptq/base/progress.h"
#include "ptq/base/stopwatch.h"
#include "ptq/emit/metadata.h"
#include "ptq/emit/output_model.h"
#include "ptq/emit/sidecars.h"
#include "ptq/pipeline/calibrator.h"
#include "ptq/pipeline/samples.h"

namespace ptq {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();
/// Largest relative difference that reordering of float32 sums, and roundings to binary16, explain.
constexpr double kFloatTolerance = 1e-3;
constexpr double kHalfTolerance = 2e-2;

/// The source, read and understood.
struct Source {
  explicit Source(const Recipe& recipe)
      : model(Model::Load(recipe.source)), graph(model), executor(graph) {}
  Model model;
  Graph graph;
  Executor executor;
};

void CheckSpecs(const Plan& plan, const LinearFormat& format) {
  for (const Linear& linear : plan.linears) {
    if (linear.decision == Decision::kQuantize) format.CheckSpec(linear.spec);
  }
}

RunReport StartReport(const Source& source, const Recipe& recipe) {
  RunReport report;
  report.plan = MakePlan(source.executor.plan(), PlanOptionsOf(recipe));
  CheckSpecs(report.plan, FindLinearFormat(recipe.format));
  report.destination = recipe.destination.empty() ? DefaultDestination(recipe) : recipe.destination;
  report.predicted_peak_bytes = PredictPeakBytes(
      source.executor, report.plan,
      NeedsStatistics(MethodOf(recipe)) ? recipe.calibration.samples * recipe.calibration.seq_len
                                        : 0);
  report.outcomes.resize(report.plan.linears.size());
  std::set<ValueId> counted;
  for (size_t i = 0; i < report.plan.linears.size(); ++i) {
    const Linear& linear = report.plan.linears[i];
    LinearOutcome& outcome = report.outcomes[i];
    outcome.bytes_before = StoredBytes(source.graph, linear);
    outcome.bytes_after =
        linear.decision == Decision::kKeep ? outcome.bytes_before : ResultBytes(linear);
    if (!counted.insert(linear.stored).second) outcome.bytes_before = outcome.bytes_after = 0;
  }
  return report;
}

int64_t DirectoryBytes(const Model& model) {
  std::error_code error;
  auto bytes = static_cast<int64_t>(std::filesystem::file_size(model.path(), error));
  for (const std::string& name : model.ExternalFiles()) {
    const auto size = std::filesystem::file_size(model.directory() / name, error);
    if (!error) bytes += static_cast<int64_t>(size);
  }
  return bytes;
}

/// Changes when somebody writes one of the model's files.
nlohmann::ordered_json SourceIdentity(const Model& model, const std::string& sha256) {
  nlohmann::ordered_json files = nlohmann::ordered_json::object();
  std::vector<std::string> names = model.ExternalFiles();
  names.push_back(model.path().filename().string());
  for (const std::string& name : names) {
    std::error_code error;  // a missing file is reported when a weight is read from it
    const auto path = model.directory() / name;
    const auto time = std::filesystem::last_write_time(path, error).time_since_epoch();
    files[name] = {{"bytes", std::filesystem::file_size(path, error)},
                   {"written", std::chrono::nanoseconds(time).count()}};
  }
  files["sha256"] = sha256;
  return files;
}

size_t CountBlocks(const std::vector<MicroBatch>& batches) {
  size_t count = 0;
  for (const MicroBatch& batch : batches) count += batch.blocks.size();
  return count;
}

/// Weights that are stored as FP16 count as rounded in the expectation, too.
std::vector<ValueId> HalfConstants(const Plan& plan) {
  std::vector<ValueId> halves;
  for (const Linear& linear : plan.linears) {
    if (linear.decision == Decision::kHalf) halves.push_back(linear.stored);
  }
  return halves;
}

/// One run: the state that the road's stages hand on.
class Road {
 public:
  Road(const Recipe& recipe, Source& source, RunReport& report, bool resume)
      : recipe_(recipe),
        source_(source),
        report_(report),
        method_(MethodOf(recipe)),
        resume_(resume),
        staged_(report.destination, recipe.overwrite, resume),
        output_(source.graph, report.plan, staged_.path(),
                {recipe.format, recipe.accuracy_level, recipe.half_floats}),
        quantizer_(source.executor, report.plan, method_) {}

  void Travel() {
    try {
      Prepare();
      Quantize();
    } catch (const Interrupted&) {
      if (!checkpoint_.has_value() || checkpoint_->segments() == 0) throw;
      staged_.Keep();
      throw Interrupted("interrupted after " + std::to_string(checkpoint_->segments()) + " of " +
                        std::to_string(source_.executor.plan().segments().size()) +
                        " segments; run the same command with --resume to go on");
    }
    Write();
    Verify();
    WriteMetadata(metadata_, staged_.path());
    checkpoint_->Remove();
    staged_.Commit();
  }

 private:
  void Quantize() {
    const auto& segments = source_.executor.plan().segments();
    size_t last = 0;
    for (const Site& site : report_.plan.sites) last = std::max(last, site.segment);
    Progress progress("quantizing", int64_t(segments.size()));
    Replay();
    progress.Advance(int64_t(checkpoint_->segments()));
    for (size_t i = checkpoint_->segments(); i < segments.size(); ++i) {
      CheckInterrupt();
      if (i <= last && !report_.plan.sites.empty()) QuantizeSegment(i);
      CarryExpectation(i);
      source_.executor.DropWeights(segments[i]);
      if (i < last) SaveCheckpoint(i + 1);
      progress.Advance();
    }
  }

  /// Takes over what an interrupted run has finished.
  void Replay() {
    const nlohmann::ordered_json identity = {
        {"tool", PTQ_VERSION},
        {"recipe", ToJson(recipe_)},
        {"source", SourceIdentity(source_.model, description_.sha256)},
        {"samples", calibrator_.has_value() ? ToJson(samples_.provenance) : nullptr}};
    try {
      checkpoint_.emplace(staged_.path(), identity, resume_);
    } catch (const Error&) {
      if (resume_) staged_.Keep();  // it is for the user to give up what is there
      throw;
    }
    if (checkpoint_->segments() == 0) return;
    for (const CheckpointRecord& record : checkpoint_->records()) {
      std::vector<std::pair<Site, std::vector<float>>> scaled;
      for (const ScaledSite& site : record.scaled) scaled.emplace_back(site.site, site.scale);
      output_.Replay(record.edits, scaled);
      for (const auto& [linear, outcome] : record.outcomes) {
        quantizer_.Restore(linear, outcome);
        report_.outcomes[size_t(linear)].bytes_after = outcome.bytes_after;
      }
    }
    output_.Continue();
    if (calibrator_.has_value()) checkpoint_->LoadCuts(calibrator_->cuts());
    if (expectation_.has_value()) expectation_->Restore(checkpoint_->LoadExpectation());
    carried_ = checkpoint_->segments();
    spdlog::info("resumed after {} segments", carried_);
  }

  /// Nothing is saved while a shared weight waits for its other users.
  void SaveCheckpoint(size_t segments) {
    if (quantizer_.HasPending()) return;
    const Stopwatch watch(report_.timings.checkpoint);
    unsaved_.segments = segments;
    unsaved_.edits = output_.TakeEdits();
    checkpoint_->Save(unsaved_, calibrator_.has_value() ? &calibrator_->cuts() : nullptr,
                      expectation_.has_value() ? &expectation_->values() : nullptr);
    unsaved_ = {};
  }

  /// Reads the samples and puts them at the entrance of the graph.
  void Prepare() {
    const Stopwatch watch(report_.timings.read);
    description_ = DescribeSource(source_.model);
    const int64_t vocabulary = VocabularySize(source_.graph);
    std::optional<Feeder> feeder;
    TokenBlock sample = AnySample(vocabulary);
    const bool calibrate = NeedsStatistics(method_) && !report_.plan.sites.empty();
    if (calibrate) {
      feeder.emplace(source_.graph, ReadFeedHints(source_.model.directory()));
      samples_ = ReadSamples(recipe_.calibration, recipe_.source, recipe_.tokenizer, vocabulary);
      const auto batches = MakeMicroBatches(samples_.ids, kMicroBatchTokens);
      report_.samples = samples_.provenance.samples;
      report_.tokens = samples_.provenance.tokens;
      report_.predicted_peak_bytes =
          PredictPeakBytes(source_.executor, report_.plan, report_.tokens);
      const TokenBlock& first = batches.front().blocks.front();
      sample.length = first.length;
      sample.ids.assign(first.ids.begin(), first.ids.begin() + first.length);
      calibrator_.emplace(source_.executor, *feeder, batches, TapsBySegment(), recipe_.propagate,
                          CutStore(CountBlocks(batches), kUnlimited, staged_.path()),
                          IdleBytes(source_.graph, report_.plan));
    }
    if (!recipe_.verify) {
      report_.verification.note = "not asked for (--no-verify)";
      return;
    }
    try {
      if (!feeder.has_value()) {
        feeder.emplace(source_.graph, ReadFeedHints(source_.model.directory()));
      }
      expectation_.emplace(source_.executor, feeder->Make(sample.ids, 1, sample.length),
                           HalfConstants(report_.plan));
    } catch (const UnsupportedError& error) {
      report_.verification.note = error.what();
      spdlog::warn("not verified: {}", error.what());
    }
  }

  [[nodiscard]] std::vector<Taps> TapsBySegment() const {
    std::vector<Taps> taps(source_.executor.plan().segments().size());
    for (const Site& site : report_.plan.sites) {
      taps[site.segment][site.value] = report_.plan.linears[size_t(site.linears.front())].k;
    }
    return taps;
  }

  void QuantizeSegment(size_t index) {
    StatisticsBySite statistics;
    if (calibrator_.has_value()) statistics = calibrator_->Observe(index, report_.timings);
    SegmentResult result;
    {
      const Stopwatch watch(report_.timings.search);
      result = quantizer_.Quantize(index, std::move(statistics));
    }
    if (calibrator_.has_value() && recipe_.propagate) {
      const Stopwatch watch(report_.timings.propagate);
      calibrator_->Propagate(index, result.overrides);
    }
    const Stopwatch watch(report_.timings.pack);
    for (const ScaledSite& scaled : result.scaled) output_.ScaleSite(scaled.site, scaled.scale);
    for (const QuantizedLinear& linear : result.linears) {
      LinearOutcome outcome = quantizer_.outcomes()[size_t(linear.linear)];
      outcome.bytes_after = output_.Quantize(report_.plan.linears[size_t(linear.linear)], linear.q);
      report_.outcomes[size_t(linear.linear)].bytes_after = outcome.bytes_after;
      unsaved_.outcomes.emplace_back(linear.linear, std::move(outcome));
    }
    for (ScaledSite& scaled : result.scaled) unsaved_.scaled.push_back(std::move(scaled));
    if (expectation_.has_value()) overrides_.merge(result.overrides);
  }

  /// Shared weights are known only at their last site; until then the expectation waits.
  void CarryExpectation(size_t index) {
    if (!expectation_.has_value() || quantizer_.HasPending()) return;
    const Stopwatch watch(report_.timings.verify);
    const auto& segments = source_.executor.plan().segments();
    for (; carried_ <= index; ++carried_) expectation_->Advance(segments[carried_], overrides_);
    overrides_.clear();
  }

  void Write() {
    const Stopwatch watch(report_.timings.write);
    for (size_t i = 0; i < report_.plan.linears.size(); ++i) {
      const Linear& linear = report_.plan.linears[i];
      LinearOutcome& outcome = report_.outcomes[i];
      if (linear.decision == Decision::kHalf) outcome.bytes_after = output_.StoreAsHalf(linear);
      if (linear.decision != Decision::kQuantize) continue;
      const LinearOutcome& found = quantizer_.outcomes()[i];
      const int64_t before = outcome.bytes_before;
      const int64_t after = outcome.bytes_after;
      outcome = found;
      outcome.bytes_before = before;
      outcome.bytes_after = after;
    }
    metadata_ = Describe();
    for (const auto& [key, value] : MetadataProps(metadata_)) output_.SetMetadata(key, value);
    output_.Finish();
    metadata_.sidecars = CopySidecars(source_.model, staged_.path());
  }

  /// What the metadata says of the source, the recipe and every linear.
  [[nodiscard]] Metadata Describe() const {
    Metadata metadata;
    metadata.version = PTQ_VERSION;
    metadata.recipe = ToJson(recipe_);
    if (calibrator_.has_value()) metadata.calibration = ToJson(samples_.provenance);
    metadata.source = description_;
    for (size_t i = 0; i < report_.plan.linears.size(); ++i) {
      const Linear& linear = report_.plan.linears[i];
      const LinearOutcome& outcome = report_.outcomes[i];
      LinearMetadata entry = DescribeLinear(source_.graph, linear);
      entry.bytes_before = outcome.bytes_before;
      entry.bytes_after = outcome.bytes_after;
      if (linear.decision == Decision::kQuantize) {
        entry.quantized = LinearMetadata::Quantized{
            .spec = linear.spec,
            .scaling = outcome.scaling,
            .alpha = outcome.alpha,
            .fold = outcome.fold.empty() ? "none" : outcome.fold,
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
    if (!expectation_.has_value()) return;
    const Stopwatch watch(report_.timings.verify);
    const bool half = recipe_.half_floats || HasHalfLinears();
    report_.verification =
        expectation_->Check(staged_.path(), half ? kHalfTolerance : kFloatTolerance);
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

  [[nodiscard]] bool HasHalfLinears() const {
    for (const Linear& linear : report_.plan.linears) {
      if (linear.operand_type != DType::kFloat32) return true;
    }
    return false;
  }

  const Recipe& recipe_;
  Source& source_;
  RunReport& report_;
  Method method_;
  const bool resume_;
  StagedDirectory staged_;
  OutputModel output_;
  SegmentQuantizer quantizer_;
  CalibrationSet samples_;
  SourceDescription description_;
  Metadata metadata_;
  std::optional<Calibrator> calibrator_;
  std::optional<Expectation> expectation_;
  std::optional<Checkpoint> checkpoint_;
  CheckpointRecord unsaved_;
  Values overrides_;
  size_t carried_ = 0;
};

}  // namespace

RunReport PlanRun(const Recipe& recipe) {
  const Source source(recipe);
  RunReport report = StartReport(source, recipe);
  report.bytes_before = DirectoryBytes(source.model);
  return report;
}

RunReport Run(const Recipe& recipe, bool resume) {
  const auto start = std::chrono::steady_clock::now();
  std::optional<Source> source;
  double read = 0;
  {
    const Stopwatch watch(read);
    source.emplace(recipe);
  }
  RunReport report = StartReport(*source, recipe);
  report.timings.read = read;
  report.bytes_before = DirectoryBytes(source->model);
  Road(recipe, *source, report, resume).Travel();
  std::error_code error;
  for (const char* name : {"model.onnx", "model.onnx.data"}) {
    const auto size = std::filesystem::file_size(report.destination / name, error);
    if (!error) report.bytes_after += static_cast<int64_t>(size);
  }
  report.timings.total =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace ptq
