// Makes and measures one point after the other.
#include "ptq/flows/sweep.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <set>

#include "sweep_notes.h"
#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
#include "ptq/base/folders.h"
#include "ptq/base/hash.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/json.h"
#include "ptq/base/place_files.h"
#include "ptq/base/progress.h"
#include "ptq/calibrate/collect.h"
#include "ptq/emit/written_files.h"
#include "ptq/flows/evaluation.h"
#include "ptq/flows/make_result.h"
#include "ptq/model/model.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr char kStatistics[] = ".statistics";

/// What decides the statistics of a run.
std::string StatisticsKey(const Recipe& recipe) {
  const CalibrationOptions& options = recipe.calibration;
  Json key = {{"samples", options.samples},     {"seq_len", options.seq_len},
              {"seed", options.seed},           {"split", int(options.split)},
              {"long", int(options.long_text)}, {"tokenizer", recipe.tokenizer.string()},
              {"requantize", recipe.requantize}};
  for (const fs::path& file : options.files) key["files"].push_back(file.string());
  return DumpJson(key);
}

/// Whether a file of statistics gives the same as samples do.
bool CanTakeStatistics(const Recipe& recipe) {
  return NeedsStatistics(recipe) && !MethodOf(recipe).propagate && recipe.statistics.empty() &&
         recipe.kv_cache == Precision::kKeep && !IsHalfMethod(recipe);
}

double MeanLoss(const MadeResult& made) {
  const Json metadata = ReadMetadata(std::visit([](const auto& r) { return r.destination; }, made));
  const Json models = metadata.contains("models") ? metadata["models"] : Json::array({metadata});
  double sum = 0;
  int64_t count = 0;
  for (const Json& model : models) {
    for (const Json& linear : model.value("linears", Json::array())) {
      const Json& quantized = linear.at("quantized");
      if (!quantized.is_object() || !quantized.at("relative_loss").is_number()) continue;
      sum += quantized["relative_loss"].get<double>();
      ++count;
    }
  }
  return count > 0 ? sum / double(count) : 0;
}

class Sweep {
 public:
  Sweep(const SweepRequest& request, SweepReport& report)
      : request_(request), report_(report), notes_(request.directory) {}

  void Run() {
    CountStatistics();
    Progress progress("sweep", std::ssize(request_.points));
    for (const SweepPoint& point : request_.points) {
      CheckInterrupt();
      Progress::ShowDetail(point.id);
      report_.results.push_back(Take(point));
      progress.Advance();
      if (request_.keep == SweepKeep::kPareto) RemoveBeaten();
    }
    Choose();
    std::error_code error;
    fs::remove_all(request_.directory / kStatistics, error);
  }

 private:
  [[nodiscard]] fs::path DirectoryOf(const std::string& id) const {
    return request_.directory / id;
  }

  /// What a noted result must have been made for.
  [[nodiscard]] Json KeyOf(const SweepPoint& point) {
    if (source_hashes_.is_null()) {
      for (const fs::path& file : ModelFiles(request_.source).files) {
        source_hashes_.push_back(Sha256OfFile(Model::Load(file).path()));
      }
      text_hash_ = request_.text.empty() ? Json(nullptr) : Json(Sha256OfFile(request_.text));
    }
    Json calibration = Json::array();
    std::error_code error;
    for (const fs::path& file : point.recipe.calibration.files) {
      calibration.push_back(fs::is_regular_file(file, error) ? Json(Sha256OfFile(file))
                                                             : Json(file.string()));
    }
    return {{"tool", PTQ_VERSION},
            {"recipe", ToJson(point.recipe)},
            {"source", source_hashes_},
            {"calibration", calibration},
            {"text", text_hash_}};
  }

  SweepResult Take(const SweepPoint& point) {
    const Json key = KeyOf(point);
    if (auto found = notes_.Find(point.id, key); found.has_value() && !request_.force) {
      const bool there = fs::exists(DirectoryOf(point.id));
      if (there || request_.keep != SweepKeep::kAll || !found->error.empty()) {
        found->kept = there;
        return *found;
      }
    }
    SweepResult result = Make(point);
    notes_.Enter(result, key);
    return result;
  }

  SweepResult Make(const SweepPoint& point) {
    SweepResult result;
    result.id = point.id;
    result.settings = point.settings;
    const auto start = Clock::now();
    try {
      Quantize(point, result);
      result.seconds = std::chrono::duration<double>(Clock::now() - start).count();
      if (!request_.text.empty()) Measure(point, result);
    } catch (const Interrupted&) {
      throw;
    } catch (const OutputError&) {
      throw;  // the disk would stop the others, too
    } catch (const Error& error) {
      result.error = error.what();
      spdlog::warn("'" + point.id + "': " + result.error);
    }
    return result;
  }

  void Quantize(const SweepPoint& point, SweepResult& result) {
    Recipe recipe = point.recipe;
    recipe.source = request_.source;
    recipe.destination = DirectoryOf(point.id);
    recipe.overwrite = true;  // only what an earlier sweep wrote is ever replaced
    ShareStatistics(recipe);
    RunOptions options;
    options.force = request_.force;
    Ranks alone = Ranks::Alone();
    const MadeResult made = MakeResult(recipe, options, alone);
    result.bytes = std::visit([](const auto& report) { return report.bytes_after; }, made);
    result.relative_loss = MeanLoss(made);
    result.kept = true;
  }

  void Measure(const SweepPoint& point, SweepResult& result) {
    EvaluationRequest request;
    request.source = DirectoryOf(point.id);
    request.reference = request_.source;
    request.text = request_.text;
    request.tokenizer = point.recipe.tokenizer;
    request.memory_budget = point.recipe.memory_budget;
    result.figures = FiguresOf(EvaluateModel(request));
  }

  void CountStatistics() {
    if (IsOfSeveral(request_.points.front().recipe)) return;
    for (const SweepPoint& point : request_.points) {
      if (CanTakeStatistics(point.recipe)) ++statistics_[StatisticsKey(point.recipe)];
    }
  }

  /// Statistics that several points need are collected when the first of them does.
  void ShareStatistics(Recipe& recipe) {
    const auto shared = statistics_.find(StatisticsKey(recipe));
    if (shared == statistics_.end() || shared->second < 2 || !CanTakeStatistics(recipe)) return;
    const fs::path file = request_.directory / kStatistics / Sha256Hex(shared->first);
    if (!collected_.contains(file)) {
      MakeFolders(file.parent_path());
      Ranks alone = Ranks::Alone();
      Recipe collecting = recipe;
      collecting.source = ModelFiles(recipe.source).files.front();
      (void)CollectStatistics(collecting, file, alone);
      collected_.insert(file);
    }
    recipe.shrinkage = MethodOf(recipe).shrinkage;  // as for the samples themselves
    recipe.statistics = file;
  }

  /// Results that another beats are of no use.
  void RemoveBeaten() {
    MarkPareto(report_.results);
    for (SweepResult& result : report_.results) {
      if (result.kept && !result.pareto) Remove(result);
    }
  }

  void Remove(SweepResult& result) const {
    const auto written = WrittenFiles(DirectoryOf(result.id));
    if (!written.has_value()) return;
    std::vector<fs::path> files;
    for (const WrittenFile& file : *written) files.push_back(file.name);
    RemoveFiles(DirectoryOf(result.id), files);
    result.kept = false;
  }

  void Choose() {
    MarkPareto(report_.results);
    const int64_t limit = request_.best_under.value_or(std::numeric_limits<int64_t>::max());
    for (size_t i = 0; i < report_.results.size(); ++i) {
      const SweepResult& result = report_.results[i];
      if (result.bytes > limit || !result.pareto) continue;
      if (!report_.best || result.Badness() < report_.results[*report_.best].Badness()) {
        report_.best = i;
      }
    }
    if (request_.keep != SweepKeep::kBest) return;
    for (size_t i = 0; i < report_.results.size(); ++i) {
      if (report_.results[i].kept && i != report_.best) Remove(report_.results[i]);
    }
  }

  const SweepRequest& request_;
  SweepReport& report_;
  SweepNotes notes_;
  Json source_hashes_;
  Json text_hash_;
  std::map<std::string, int> statistics_;  ///< points that need them, by their key
  std::set<fs::path> collected_;
};

}  // namespace

const Figure* SweepResult::Telling() const {
  // A ratio of perplexities may be good by chance.
  const auto figure = std::ranges::find_if(
      figures, [](const Figure& each) { return !each.of_one_model && each.name != "ppl_ratio"; });
  if (figure != figures.end()) return &*figure;
  return figures.empty() ? nullptr : figures.data();
}

double SweepResult::Badness() const {
  const Figure* const told = Telling();
  if (told == nullptr) return relative_loss;
  const double value = told->value.value_or(NAN);
  return told->better == Better::kHigher ? -value : value;
}

void MarkPareto(std::vector<SweepResult>& results) {
  for (SweepResult& result : results) {
    result.pareto = result.error.empty() && !std::isnan(result.Badness()) &&
                    std::ranges::none_of(results, [&](const SweepResult& other) {
                      if (!other.error.empty()) return false;
                      const double better = other.Badness() - result.Badness();
                      return other.bytes <= result.bytes && better <= 0 &&
                             (other.bytes < result.bytes || better < 0);
                    });
  }
}

SweepReport RunSweep(const SweepRequest& request) {
  std::set<std::string> ids;
  for (const SweepPoint& point : request.points) {
    if (!ids.insert(point.id).second) throw UsageError("two points are called '" + point.id + "'");
  }
  const auto start = Clock::now();
  SweepReport report;
  report.directory = request.directory;
  MakeFolders(request.directory);
  Sweep(request, report).Run();
  report.quality = "relative_loss";
  for (const SweepResult& result : report.results) {
    if (const Figure* const told = result.Telling()) report.quality = told->name;
  }
  report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return report;
}

}  // namespace ptq
