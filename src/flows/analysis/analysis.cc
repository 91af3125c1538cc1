// Tries widths on the statistics of a model's sites, and ranks what more bits are worth.
#include "ptq/flows/analysis.h"

#include <algorithm>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include "growth.h"
#include "site_search.h"

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/json.h"
#include "ptq/base/progress.h"
#include "ptq/base/scratch_directory.h"
#include "ptq/calibrate/collect.h"
#include "ptq/calibrate/companions.h"
#include "ptq/calibrate/samples.h"
#include "ptq/emit/metadata.h"
#include "ptq/pipeline/run.h"
#include "ptq/pipeline/single_file.h"
#include "ptq/stats/statistics_file.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Of the samples those that both models are run on, and so many of their tokens.
constexpr size_t kGrowthTexts = 16;
constexpr size_t kGrowthTokens = 128;

/// Statistics that the recipe names, or collected ones, which go with this object.
class Statistics {
 public:
  Statistics(const AnalysisRequest& request, Ranks& ranks) : path_(request.recipe.statistics) {
    if (!path_.empty()) return;
    scratch_.emplace(request.scratch);
    path_ = scratch_->path() / "statistics";
    (void)CollectStatistics(request.recipe, path_, ranks);
  }
  [[nodiscard]] StatisticsFile Open() const { return StatisticsFile(path_); }

 private:
  fs::path path_;
  std::optional<ScratchDirectory> scratch_;
};

/// The plan of each width. Linears have the same indices in all.
std::map<int, RunReport> PlansOf(const AnalysisRequest& request) {
  std::map<int, RunReport> plans;
  for (const int bits : request.bits) {
    Recipe recipe = request.recipe;
    recipe.method = "rtn";
    recipe.bits = bits;
    plans.emplace(bits, PlanRun(recipe));
  }
  return plans;
}

/// The metadata of a result of this source; null without one.
Json ResultMetadata(const AnalysisRequest& request, const Source& source) {
  if (request.result.empty()) return nullptr;
  std::error_code error;
  const fs::path file = fs::is_directory(request.result, error)
                            ? request.result / kMetadataFileName
                            : MetadataOfSingleFile(request.result);
  if (!fs::is_regular_file(file, error)) return nullptr;  // any other form of the model
  Json metadata = ParseJson<Json>(ReadTextFile(file));
  const bool known =
      metadata.is_object() && metadata.contains("source") && metadata.contains("linears");
  if (!known) return nullptr;
  if (metadata["source"].value("sha256", "") != DescribeSource(source.model).sha256) {
    throw InputError("'" + request.result.string() + "' was made of another model than '" +
                     source.model.path().string() + "'");
  }
  return metadata;
}

/// The bits of each linear of a result, by name.
std::map<std::string, int> BitsOf(const Json& metadata) {
  std::map<std::string, int> bits;
  if (metadata.is_null()) return bits;
  for (const Json& linear : metadata["linears"]) {
    if (!linear.at("quantized").is_object()) continue;
    bits[linear.at("name").get<std::string>()] = linear["quantized"].at("bits").get<int>();
  }
  return bits;
}

std::optional<Candidate> CandidateOf(const LinearSensitivity& linear) {
  const auto now = std::ranges::find(linear.widths, linear.bits, &WidthLoss::bits);
  if (now == linear.widths.end()) return std::nullopt;
  for (auto wider = now + 1; wider != linear.widths.end(); ++wider) {
    if (wider->bytes <= now->bytes) continue;  // 3 bits are stored in 4
    return Candidate{linear.name, now->bits, wider->bits, now->relative_loss - wider->relative_loss,
                     wider->bytes - now->bytes};
  }
  return std::nullopt;
}

/// One site on all widths.
void AddSite(const std::map<int, RunReport>& plans, const Source& source, size_t index,
             const StatisticsFile& file, const std::map<std::string, int>& bits, int asked,
             AnalysisReport& report) {
  const Plan& first = plans.begin()->second.plan;
  const Site& site = first.sites[index];
  SiteSalience seen;
  seen.site = source.graph.value(site.value).name;
  Method nearest = MethodFromPreset("rtn");
  const std::vector<int> linears = SiteSearch(source.executor, first, nearest).LinearsOf(site);
  if (linears.empty()) return;
  const SiteStatistics statistics = file.Read(seen.site);
  if (statistics.count() == 0 || !statistics.IsFinite()) return;
  seen.tokens = statistics.count();
  seen.salience = SiteOutcomeOf(statistics.MeanAbs(), {});
  const size_t begin = report.linears.size();
  for (const int linear : linears) {
    const Linear& one = first.linears[size_t(linear)];
    seen.linears.push_back(one.name);
    const auto own = bits.find(one.name);
    report.linears.push_back({one.name, one.n, one.k, own == bits.end() ? asked : own->second, {}});
  }
  for (const auto& [width, planned] : plans) {
    CheckInterrupt();
    const SiteSearch search(source.executor, planned.plan, nearest);
    const SiteResult found = search.Search(planned.plan.sites[index], statistics);
    for (size_t i = 0; i < linears.size(); ++i) {
      const LinearResult& linear = found.linears[i];
      const double loss = linear.energy > 0 ? linear.loss / linear.energy : 0;
      report.linears[begin + i].widths.push_back(
          {width, planned.plan.linears[size_t(linears[i])].decision.bytes, loss});
    }
  }
  report.sites.push_back(std::move(seen));
}

std::vector<std::vector<int64_t>> GrowthTexts(const AnalysisRequest& request,
                                              const Source& source) {
  CalibrationOptions options = request.recipe.calibration;
  options.samples = kGrowthTexts;
  auto texts = ReadSamples(options, request.recipe.source, request.recipe.tokenizer,
                           VocabularySize(source.graph))
                   .ids;
  for (auto& text : texts) text.resize(std::min(text.size(), kGrowthTokens));
  return texts;
}

}  // namespace

AnalysisReport Analyze(const AnalysisRequest& request, Ranks& ranks) {
  AnalysisReport report;
  Companions companions({request.recipe.source}, request.recipe);
  const Source& source = companions.source(0);
  const std::map<std::string, int> bits = BitsOf(ResultMetadata(request, source));
  const std::map<int, RunReport> plans = PlansOf(request);
  const Statistics statistics(request, ranks);
  const StatisticsFile file = statistics.Open();
  report.calibration = file.provenance().value("calibration", Json());
  const Plan& plan = plans.begin()->second.plan;
  {
    Progress progress("trying widths", std::ssize(plan.sites));
    for (size_t i = 0; i < plan.sites.size(); ++i) {
      AddSite(plans, source, i, file, bits, request.recipe.bits, report);
      source.executor.DropWeights(source.executor.plan().segments()[plan.sites[i].segment]);
      progress.Advance();
    }
  }
  for (const LinearSensitivity& linear : report.linears) {
    if (auto candidate = CandidateOf(linear)) report.candidates.push_back(*std::move(candidate));
  }
  std::ranges::stable_sort(report.candidates, [](const Candidate& a, const Candidate& b) {
    return a.PerByte() > b.PerByte();
  });
  if (request.result.empty()) return report;
  const auto texts = GrowthTexts(request, source);
  report.growth_texts = std::ssize(texts);
  report.growth = GrowthOf(source, plan, request.result, texts);
  return report;
}

}  // namespace ptq
