// Observes and quantizes a segment stage by stage, and exchanges what each rank has found.
#include "ptq/search/segment_search.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
#include "ptq/base/stopwatch.h"
#include "ptq/search/segment_record.h"
#include "ptq/search/site_owners.h"

namespace ptq {
namespace {

using Json = nlohmann::json;

template <class T>
void Append(std::vector<T>& to, std::vector<T> from) {
  std::ranges::move(from, std::back_inserter(to));
}

}  // namespace

SegmentSearch::SegmentSearch(const Source& source, const Recipe& recipe, const Plan& plan,
                             Ranks& ranks, const ModelInputs& inputs, OneOfSeveral others)
    : source_(source),
      recipe_(recipe),
      plan_(plan),
      ranks_(ranks),
      inputs_(inputs),
      others_(others),
      method_(MethodOf(recipe)),
      owners_(SiteOwners(plan, ranks.size())),
      quantizer_(source.executor, plan, method_, others) {
  for (size_t i = 0; i < plan.sites.size(); ++i) {
    sites_of_segment_[plan.sites[i].segment].push_back(i);
  }
}

void SegmentSearch::Start(const std::string& sha256, const std::filesystem::path& scratch) {
  CheckSameSource(source_.model, sha256, ranks_);
  if (!NeedsStatistics(recipe_) || plan_.sites.empty()) return;
  if (!recipe_.statistics.empty()) return OpenStatistics(sha256);
  const std::vector<bool> taken = TakenSites();
  if (std::ranges::all_of(taken, std::identity())) {
    const bool known = std::ranges::any_of(
        plan_.linears, [](const Linear& linear) { return linear.decision.known; });
    note_ =
        known ? "its weights lie on grids, or have the codes of another model: nothing to calibrate"
              : "its weights have the codes that were found for another model of the directory";
    return;
  }
  if (!inputs_.obstacle.empty()) {
    note_ = inputs_.obstacle + "; weights are rounded to nearest";
    return;
  }
  try {
    calibration_.emplace(StartCalibration({source_, recipe_, method_, plan_, scratch, taken,
                                           others_.model > 0, RoundsActivations(plan_)},
                                          ranks_, inputs_));
  } catch (const UnsupportedError& error) {
    note_ = std::string(error.what()) + "; weights are rounded to nearest";
    spdlog::warn("'" + source_.model.path().filename().string() + "' is not calibrated: " + note_);
  }
}

/// The sites whose linears lie on grids, or are taken over from another model.
std::vector<bool> SegmentSearch::TakenSites() const {
  std::vector<bool> taken;
  for (const Site& site : plan_.sites) {
    const bool known = std::ranges::all_of(
        site.linears, [&](int linear) { return plan_.linears[size_t(linear)].decision.known; });
    taken.push_back(known ||
                    (others_.common != nullptr && others_.common->Has(others_.model, plan_, site)));
  }
  return taken;
}

void SegmentSearch::OpenStatistics(const std::string& sha256) {
  if (method_.propagate) {
    throw UsageError(
        "--propagate (which --method best implies) needs the samples themselves: give --calib "
        "instead of --stats, or --no-propagate");
  }
  statistics_.emplace(recipe_.statistics);
  if (statistics_->provenance().value("source", nlohmann::ordered_json()) !=
      SourceIdentity(source_.model, sha256)) {
    throw InputError("'" + recipe_.statistics.string() + "' was collected on another model than '" +
                     source_.model.path().string() + "'; collect again with quantize stats");
  }
  if (method_.activation_range.needs_sample() && !statistics_->has_tokens()) {
    spdlog::warn("'" + recipe_.statistics.string() +
                 "' holds no tokens as they are, so the levels of all end at the extremes "
                 "(--activation-range minmax); collect again with quantize stats");
  }
}

nlohmann::ordered_json SegmentSearch::Provenance() const {
  if (calibration_.has_value()) return ToJson(calibration_->samples.provenance);
  if (statistics_.has_value()) return statistics_->provenance().at("calibration");
  return nullptr;
}

std::vector<std::vector<size_t>> SegmentSearch::SitesByStage(size_t segment) const {
  std::vector<std::vector<size_t>> sites;
  if (calibration_.has_value()) {
    for (const Stage& stage : calibration_->calibrator.stages()[segment]) {
      sites.push_back(stage.sites);
    }
    return sites;
  }
  const auto own = sites_of_segment_.find(segment);
  sites.push_back(own == sites_of_segment_.end() ? std::vector<size_t>() : own->second);
  return sites;
}

std::vector<size_t> SegmentSearch::Owned(const std::vector<size_t>& sites, int owner) const {
  std::vector<size_t> owned;
  std::ranges::copy_if(sites, std::back_inserter(owned),
                       [&](size_t site) { return owners_[site] == owner; });
  return owned;
}

/// Of the sites of this rank.
StatisticsBySite SegmentSearch::Statistics(size_t segment, size_t stage,
                                           const std::vector<size_t>& sites,
                                           const Overrides& quantized, Timings& timings) {
  StatisticsBySite statistics;
  if (calibration_.has_value()) {
    statistics = calibration_->calibrator.Observe(segment, stage, quantized, timings);
  }
  if (calibration_.has_value() && ranks_.size() > 1) {
    const Stopwatch watch(timings.exchange);
    for (const size_t site : sites) {
      const auto sums = statistics.find(plan_.sites[site].value);
      if (sums == statistics.end()) continue;
      sums->second.Gather(ranks_, owners_[site]);
      if (owners_[site] != ranks_.rank()) statistics.erase(sums);
    }
  }
  if (!statistics_.has_value()) return statistics;
  const Stopwatch watch(timings.read);
  for (const size_t site : Owned(sites, ranks_.rank())) {
    const ValueId value = plan_.sites[site].value;
    statistics.emplace(value, statistics_->Read(source_.graph.value(value).name));
  }
  return statistics;
}

/// What all ranks together find for some sites; on those that do not receive it, nothing.
SegmentResult SegmentSearch::Quantize(const std::vector<size_t>& sites, StatisticsBySite statistics,
                                      Timings& timings) {
  SegmentResult result;
  {
    const Stopwatch watch(timings.search);
    result = quantizer_.Quantize(Owned(sites, ranks_.rank()), std::move(statistics));
  }
  if (ranks_.size() > 1) {
    const Stopwatch watch(timings.exchange);
    Exchange(sites, result);
  }
  if (Receives()) quantizer_.AddOperands(result);
  return result;
}

SegmentResult SegmentSearch::Run(size_t segment, Timings& timings) {
  SegmentResult whole;
  Overrides quantized;
  const auto sites = SitesByStage(segment);
  for (size_t stage = 0; stage < sites.size(); ++stage) {
    StatisticsBySite statistics = Statistics(segment, stage, sites[stage], quantized, timings);
    if (sites[stage].empty()) continue;
    SegmentResult found = Quantize(sites[stage], std::move(statistics), timings);
    if (method_.propagate) {
      const Stopwatch watch(timings.propagate);
      for (const auto& [id, weight] : found.operands) quantized.constants[id] = weight->Whole();
      quantized.edits.Merge(found.edits);
    }
    Append(whole.scaled, std::move(found.scaled));
    Append(whole.linears, std::move(found.linears));
    whole.operands.merge(found.operands);
    whole.edits.Merge(found.edits);
  }
  const Stopwatch watch(timings.search);
  if (Receives()) quantizer_.FoldRows(whole);
  return whole;
}

/// Gives rank 0, or all that propagate, what every rank has found, in the order of the sites.
void SegmentSearch::Exchange(const std::vector<size_t>& sites, SegmentResult& result) {
  SegmentResult whole;
  for (int from = 0; from < ranks_.size(); ++from) {
    if (Owned(sites, from).empty()) continue;
    SegmentResult part = Send(from, result);
    if (!Receives()) continue;
    Append(whole.scaled, std::move(part.scaled));
    Append(whole.linears, std::move(part.linears));
  }
  if (!Receives()) whole = {};
  result = std::move(whole);
  SortBySite(result);
}

/// What rank `from` has found: taken from its `own` there. All ranks take part, whether they
/// receive or not.
SegmentResult SegmentSearch::Send(int from, SegmentResult& own) {
  const int to = method_.propagate ? Ranks::kEveryone : 0;
  const bool sends = ranks_.rank() == from;
  std::string header;
  if (sends) {
    Json found = {{"scaled", own.scaled}, {"linears", Json::array()}};
    for (const QuantizedLinear& quantized : own.linears) {
      found["linears"].push_back(
          {quantized.linear, quantizer_.outcomes()[size_t(quantized.linear)], quantized.bias});
    }
    Json::to_cbor(found, header);
  }
  ranks_.Copy(header, from, Ranks::kEveryone);
  const Json found = Json::from_cbor(header);
  SegmentResult result;
  found.at("scaled").get_to(result.scaled);
  for (const Json& entry : found.at("linears")) {
    const int linear = entry.at(0).get<int>();
    quantizer_.Restore(linear, entry.at(1).get<Outcome>());
    const size_t index = result.linears.size();
    QuantizedMatrix q;
    if (sends) {
      q = *std::exchange(own.linears[index].q, nullptr);
    } else if (Receives()) {
      const Linear& own_linear = plan_.linears[size_t(linear)];
      q = QuantizedMatrix(own_linear.spec(), own_linear.n, own_linear.k);
    }
    ranks_.Copy(std::as_writable_bytes(std::span(q.codes)), from, to);
    ranks_.Copy(std::as_writable_bytes(std::span(q.scales)), from, to);
    ranks_.Copy(std::as_writable_bytes(std::span(q.zero_points)), from, to);
    result.linears.push_back({linear, std::make_shared<const QuantizedMatrix>(std::move(q)),
                              entry.at(2).get<std::vector<float>>()});
  }
  return result;
}

/// One rank alone finds them in this order, which decides where they lie in the output. The linears
/// of a reused weight come at the last of its sites.
void SegmentSearch::SortBySite(SegmentResult& result) const {
  std::map<ValueId, size_t> last;
  std::vector<size_t> place(plan_.linears.size());
  for (size_t i = 0; i < plan_.sites.size(); ++i) {
    for (const int linear : plan_.sites[i].linears) {
      place[size_t(linear)] = i;
      last[plan_.linears[size_t(linear)].part] = i;
    }
  }
  for (size_t i = 0; i < place.size(); ++i) {
    if (plan_.linears[i].reused) place[i] = last[plan_.linears[i].part];
  }
  const auto of_linear = [&](int linear) { return place[size_t(linear)]; };
  std::ranges::stable_sort(result.linears, {}, [&](const QuantizedLinear& quantized) {
    return of_linear(quantized.linear);
  });
  std::ranges::stable_sort(result.scaled, {}, [&](const ScaledSite& scaled) {
    return of_linear(scaled.site.linears.front());
  });
}

}  // namespace ptq
