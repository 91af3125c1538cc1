// Poses a problem for each site, takes over common results, and folds scales into rows.
#include "ptq/search/segment_quantizer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "divide_rows.h"
#include "effective_weight.h"
#include "known_linear.h"
#include "site_activations.h"
#include <spdlog/spdlog.h>

#include "ptq/base/format.h"
#include "ptq/base/half.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/progress.h"
#include "ptq/search/weight_rows.h"

namespace ptq {
namespace {

/// Folded constants and scaled activations stay this far below the largest binary16 number.
constexpr float kHalfHeadroom = 0.25f * kHalfMax;

}  // namespace

SegmentQuantizer::SegmentQuantizer(const Executor& executor, const Plan& plan, Method method,
                                   OneOfSeveral others)
    : executor_(executor), plan_(plan), method_(std::move(method)), others_(others) {
  outcomes_.resize(plan.linears.size());
  for (size_t i = 0; i < plan.linears.size(); ++i) {
    const Linear& linear = plan.linears[i];
    if (!linear.decision.quantizes() || !linear.reused || linear.table >= 0) continue;
    Reused& reused = reused_[linear.part];
    reused.linears.push_back(int(i));
    ++reused.waiting;
  }
}

SegmentResult SegmentQuantizer::Quantize(std::span<const size_t> sites,
                                         StatisticsBySite statistics) {
  SegmentResult result;
  for (const size_t index : sites) {
    CheckInterrupt();  // a site may take minutes
    const Site& site = plan_.sites[index];
    Progress::ShowDetail("searching " + plan_.linears[size_t(site.linears.front())].name);
    const Seen seen = SeenAt(site, statistics);
    std::vector<int> own;
    for (const int linear : site.linears) {
      if (!plan_.linears[size_t(linear)].reused) own.push_back(linear);
    }
    if (!own.empty()) QuantizeSiteLinears(site, own, seen, result);
    for (const int linear : site.linears) {
      if (plan_.linears[size_t(linear)].reused) CollectReused(site, linear, seen, result);
    }
    statistics.erase(site.value);  // a Gram matrix is large
  }
  return result;
}

SegmentQuantizer::Seen SegmentQuantizer::SeenAt(const Site& site,
                                                StatisticsBySite& statistics) const {
  const auto found = statistics.find(site.value);
  if (found == statistics.end()) return {};
  const bool none = found->second.count() == 0;
  if (!none && found->second.IsFinite()) return {&found->second, ""};
  Seen seen;
  seen.note = none ? "rounded to nearest: no calibration token reached it"
                   : "rounded to nearest: its activations are not finite";
  spdlog::warn("'" + plan_.linears[size_t(site.linears.front())].name + "': " + seen.note);
  return seen;
}

/// All linears of a site see the same inputs, with their mean or without it.
bool SegmentQuantizer::CorrectsBias(const Site& site) const {
  if (method_.bias == BiasCorrection::kNone) return false;
  if (others_.common != nullptr &&
      !others_.common->Divide(others_.model, site.linears).common.empty())
    return false;
  return std::ranges::all_of(site.linears, [&](int index) {
    const Linear& linear = plan_.linears[size_t(index)];
    if (linear.reused || linear.gather >= 0 || linear.IsExpert() || linear.decision.known) {
      return false;
    }
    const bool has = linear.bias != kNoValue || linear.bias_add.node >= 0;
    if (!has) return method_.bias == BiasCorrection::kAll;
    return linear.bias == kNoValue || executor_.graph().value(linear.bias).constant != nullptr;
  });
}

void SegmentQuantizer::AddOperands(SegmentResult& result) const {
  std::map<int, std::shared_ptr<const std::vector<float>>> scales;
  for (const ScaledSite& scaled : result.scaled) {
    const auto scale = std::make_shared<const std::vector<float>>(scaled.scale);
    for (const int linear : scaled.site.linears) scales[linear] = scale;
  }
  for (const QuantizedLinear& quantized : result.linears) {
    const Linear& linear = plan_.linears[size_t(quantized.linear)];
    const auto& scale = scales[quantized.linear];
    result.operands[linear.operand] = std::make_shared<EffectiveWeight>(quantized.q, scale, linear);
    AddRounding(linear, outcomes_[size_t(quantized.linear)].Levels(), scale, result.edits);
    for (const ConstantProduct& product : linear.constant_products) {
      Linear there = linear;
      there.operand_is_nk = product.operand_is_nk;
      result.operands[product.operand] =
          std::make_shared<EffectiveWeight>(quantized.q, scale, there);
    }
    if (quantized.bias.empty()) continue;
    const auto n = int64_t(quantized.bias.size());
    result.edits.additions[executor_.graph().outputs(linear.node)[0]] =
        Tensor::From<float>({n}, quantized.bias);
  }
}

void SegmentQuantizer::QuantizeSiteLinears(const Site& site, const std::vector<int>& linears,
                                           const Seen& seen, SegmentResult& result) {
  if (others_.common == nullptr) return SearchSite(site, linears, seen, result);
  const CommonWeights::Parts parts = others_.common->Divide(others_.model, linears);
  for (const auto& part : parts.common) TakeCommonSite(site, part, seen, result);
  if (!parts.own.empty()) SearchSite(site, parts.own, seen, result);
}

/// Takes over what was found for these linears in another model, or finds it for the others.
void SegmentQuantizer::TakeCommonSite(const Site& site, const std::vector<int>& linears,
                                      const Seen& seen, SegmentResult& result) {
  if (const auto known = others_.common->Find(others_.model, plan_, linears)) {
    for (size_t i = 0; i < linears.size(); ++i) {
      outcomes_[size_t(linears[i])] = known->outcomes[i];
      result.linears.push_back({linears[i], known->matrices[i], {}});
    }
    if (known->scale.empty()) return;
    Site scaled = site;
    scaled.linears = linears;
    if (known->site.fold.kind != site.fold.kind) scaled.fold = Fold();
    result.scaled.push_back({std::move(scaled), known->scale});
    return;
  }
  const size_t scaled_before = result.scaled.size();
  const size_t linears_before = result.linears.size();
  SearchSite(site, linears, seen, result);
  CommonWeights::Record record;
  record.site = site;
  if (result.scaled.size() > scaled_before) {
    record.site = result.scaled.back().site;
    record.scale = result.scaled.back().scale;
  }
  for (size_t i = 0; i < linears.size(); ++i) {
    record.outcomes.push_back(outcomes_[size_t(linears[i])]);
    record.matrices.push_back(result.linears[linears_before + i].q);
  }
  others_.common->Keep(others_.model, linears, record);
}

/// Takes the codes of those that lie on a grid, and searches for the others.
void SegmentQuantizer::SearchSite(const Site& site, const std::vector<int>& linears,
                                  const Seen& seen, SegmentResult& result) {
  std::vector<int> searched;
  const auto first = std::ptrdiff_t(result.linears.size());
  for (const int index : linears) {
    const Linear& linear = plan_.linears[size_t(index)];
    if (!linear.decision.known) {
      searched.push_back(index);
      continue;
    }
    auto [q, outcome] = TakeKnownCodes(executor_, linear);
    outcomes_[size_t(index)] = std::move(outcome);
    result.linears.push_back({index, std::move(q), {}});
  }
  if (searched.empty()) return;
  SearchOthers(site, searched, seen, result);
  std::ranges::stable_sort(result.linears.begin() + first, result.linears.end(), {},
                           [&](const QuantizedLinear& found) {
                             return std::ranges::find(linears, found.linear) - linears.begin();
                           });
}

void SegmentQuantizer::SearchOthers(const Site& site, const std::vector<int>& linears,
                                    const Seen& seen, SegmentResult& result) {
  const auto start = std::chrono::steady_clock::now();
  SiteStatistics* const statistics = seen.statistics;
  SiteProblem problem;
  problem.k = plan_.linears[size_t(linears.front())].k;
  problem.scaling_allowed = site.scaling_allowed;
  problem.row_of_channel = site.fold.row_of_channel;
  std::vector<float> mean_abs, range;
  if (statistics != nullptr) {
    mean_abs = statistics->MeanAbs();
    problem.mean_abs = mean_abs;
    problem.max_abs = statistics->max_abs();
    AddActivations(plan_, linears, *statistics, range, problem);
    if (CorrectsBias(site)) {
      statistics->Center();
      problem.sum = statistics->sum();
      problem.shift_sum = statistics->shift_sum();
    }
    problem.gram = statistics->gram();
    problem.cross = statistics->cross();
    problem.tokens = statistics->count();
    problem.scale_min = std::max(problem.scale_min, SmallestScale(site, *statistics));
  }
  for (const int index : linears) {
    const Linear& linear = plan_.linears[size_t(index)];
    problem.linears.push_back(
        {linear.name, WeightRows(executor_, linear), linear.spec(), &MethodOf(linear)});
  }
  const Method method = MethodOf(linears);
  SiteResult found = QuantizeSite(problem, method);
  Site scaled = site;
  scaled.linears = linears;
  const auto channels = int64_t(site.fold.row_of_channel.size());
  if (found.scale.empty() && channels > 0 && plan_.linears[size_t(site.fold.linear)].n < channels) {
    // One scale for all heads that share a row does not pay; one for each, with a Mul, may.
    problem.row_of_channel = {};
    found = QuantizeSite(problem, method);
    scaled.fold = Fold();
  }
  for (size_t i = 0; i < linears.size(); ++i) {
    LinearResult& own = found.linears[i];
    Record(linears[i], found, own, seen);
    RecordLevels(linears[i], found.levels);
    result.linears.push_back(
        {linears[i], std::make_shared<const QuantizedMatrix>(std::move(own.q)), own.bias});
  }
  if (statistics != nullptr) {
    outcomes_[size_t(linears.front())].site = SiteOutcomeOf(mean_abs, std::move(found.trials));
  }
  SayWhatWasFound(linears, found.scale.empty() ? "" : FoldName(scaled.fold.kind),
                  std::chrono::steady_clock::now() - start);
  if (!found.scale.empty()) {
    result.scaled.push_back({std::move(scaled), std::move(found.scale)});
  }
}

const Method& SegmentQuantizer::MethodOf(const Linear& linear) const {
  return linear.decision.method.has_value() ? *linear.decision.method : method_;
}

/// A site has one scale: found as all its linears want it, or as the run does where they differ.
Method SegmentQuantizer::MethodOf(const std::vector<int>& linears) const {
  Method method = method_;
  const auto scaling = [&](int linear) { return MethodOf(plan_.linears[size_t(linear)]).scaling; };
  const std::string first = scaling(linears.front());
  const bool alike = std::ranges::all_of(linears, [&](int l) { return scaling(l) == first; });
  if (alike) method.scaling = first;
  return method;
}

void SegmentQuantizer::RecordLevels(int linear, const std::optional<ActivationLevels>& levels) {
  const Activations activations = plan_.linears[size_t(linear)].decision.activations();
  if (activations != Activations::kStatic || !levels.has_value()) return;
  outcomes_[size_t(linear)].SetLevels(*levels);
}

/// For --verbose: what was tried at a site, what was chosen, and what that costs.
void SegmentQuantizer::SayWhatWasFound(const std::vector<int>& linears, const std::string& fold,
                                       std::chrono::duration<double> time) const {
  for (const int index : linears) {
    const Outcome& outcome = outcomes_[size_t(index)];
    const auto percent = [&](double loss) {
      return outcome.energy > 0 ? 100 * loss / outcome.energy : 0.0;
    };
    const Method& method = MethodOf(plan_.linears[size_t(index)]);
    const std::string scaling =
        fold.empty() ? "unscaled"
                     : fmt::format("alpha {:.2f} into {}", outcome.alpha.value_or(0), fold);
    spdlog::debug(
        "'{}': {} + {} + {} tried, {} {}{}, error {:.4f} % of the output energy (nearest {:.4f} "
        "%), {} tokens, {} for its site",
        plan_.linears[size_t(index)].name, method.scaling, method.grid, method.rounding,
        outcome.scaling, scaling, outcome.bias_corrected ? ", bias corrected" : "",
        percent(outcome.loss_after), percent(outcome.loss_before), outcome.tokens,
        FormatSeconds(time.count()));
  }
}

void SegmentQuantizer::CollectReused(const Site& at, int linear, const Seen& seen,
                                     SegmentResult& result) {
  const ValueId part = plan_.linears[size_t(linear)].part;
  if (auto first = reused_.extract(part); !first.empty()) pending_.insert(std::move(first));
  Reused& reused = pending_.at(part);
  if (!seen.note.empty()) reused.note = seen.note;
  const bool first_of_site = reused.sites.insert(at.value).second;
  if (seen.statistics != nullptr && first_of_site) {
    if (reused.merged.has_value()) {
      reused.merged->Merge(*seen.statistics);
    } else {
      reused.merged = *seen.statistics;
    }
  }
  if (--reused.waiting > 0) return;
  Reused complete = std::move(pending_.extract(part).mapped());
  Site site;  // of this weight alone: it has one set of codes, and never a scale
  site.linears = {complete.linears.front()};
  site.scaling_allowed = false;
  // What one of its sites has seen serves for all.
  Seen merged;
  if (complete.merged.has_value()) {
    merged.statistics = &*complete.merged;
  } else {
    merged.note = complete.note;
  }
  QuantizeSiteLinears(site, {complete.linears.front()}, merged, result);
  const auto q = result.linears.back().q;
  for (size_t i = 1; i < complete.linears.size(); ++i) {
    const int other = complete.linears[i];
    outcomes_[size_t(other)] = outcomes_[size_t(complete.linears.front())];
    result.linears.push_back({other, q, {}});
  }
}

void SegmentQuantizer::Record(int linear, const SiteResult& site_result,
                              const LinearResult& linear_result, const Seen& seen) {
  Outcome& outcome = outcomes_[size_t(linear)];
  outcome.loss_before = linear_result.loss_rtn;
  outcome.loss_after = linear_result.loss;
  outcome.energy = linear_result.energy;
  outcome.weight_loss = linear_result.weight_loss;
  outcome.nearest_loss = linear_result.nearest_loss;
  outcome.propagation_loss = linear_result.propagation_loss;
  outcome.scaling = site_result.scaling;
  outcome.alpha.reset();
  if (site_result.scaling != "none") outcome.alpha = site_result.alpha;
  outcome.bias_corrected = !linear_result.bias.empty();
  const Linear& recorded = plan_.linears[size_t(linear)];
  outcome.activation_loss.reset();
  if (seen.statistics != nullptr && RoundedBlockOf(recorded) > 0) {
    outcome.activation_loss = linear_result.activation_loss;
  }
  outcome.tokens = seen.statistics != nullptr ? seen.statistics->count() : 0;
  outcome.note = seen.note;
}

/// Row factors go into the quantized scales of the producing linear: a row's codes do not change
/// when the row is multiplied.
void SegmentQuantizer::FoldRows(SegmentResult& result) {
  for (ScaledSite& scaled : result.scaled) {
    Fold& fold = scaled.site.fold;
    if (fold.kind == Fold::Kind::kLinearRows) {
      const auto producer =
          std::ranges::find(result.linears, fold.linear, &QuantizedLinear::linear);
      if (producer == result.linears.end()) {
        throw InternalError("a scale folds into the rows of a linear of another segment");
      }
      // What the original graph must compute stays as it is, so the division has its own copy.
      QuantizedMatrix divided = *producer->q;
      if (DivideRows(fold.row_of_channel, scaled.scale, divided)) {
        DivideBias(fold.row_of_channel, scaled.scale, producer->bias);
        producer->q = std::make_shared<const QuantizedMatrix>(std::move(divided));
      } else {
        fold = Fold();
      }
    }
    for (const int linear : scaled.site.linears) {
      outcomes_[size_t(linear)].fold = FoldName(fold.kind);
    }
  }
}

/// In a binary16 graph neither a folded gain γ/s nor a scaled activation x/s may overflow.
float SegmentQuantizer::SmallestScale(const Site& site, const SiteStatistics& statistics) const {
  const Linear& linear = plan_.linears[size_t(site.linears.front())];
  if (linear.operand_type != DType::kFloat16) return 0.0f;
  float largest = 0;
  for (const float value : statistics.max_abs()) largest = std::max(largest, value);
  for (const Use& gain : site.fold.gains) {
    const ValueId id = executor_.graph().inputs(gain.node)[size_t(gain.input)];
    const Tensor constant = executor_.LoadConstant(id);
    for (const float value : constant.data<float>()) largest = std::max(largest, std::abs(value));
  }
  return largest / kHalfHeadroom;
}

}  // namespace ptq
