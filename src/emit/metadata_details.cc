// Splits losses, ranks them, and describes sites.
#include "metadata_details.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "ptq/plan/linear_kind.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

/// With four digits: enough for people, and for a curve.
Json Rounded(const std::optional<double>& value) {
  if (!value.has_value() || !std::isfinite(*value)) return nullptr;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", *value);
  return std::strtod(text.data(), nullptr) + 0.0;  // no negative zero
}

/// A linear with a loss.
struct Member {
  size_t linear = 0;
  double loss = 0;
  int layer = -1;
};
using Members = std::vector<Member>;

/// 1: it loses most.
int64_t PlaceIn(const Members& members, const Member& one) {
  return 1 +
         std::ranges::count_if(members, [&](const Member& other) { return other.loss > one.loss; });
}

double MedianOf(const Members& members) {
  std::vector<double> losses;
  for (const Member& member : members) losses.push_back(member.loss);
  std::ranges::sort(losses);
  const size_t half = losses.size() / 2;
  return losses.size() % 2 == 1 ? losses[half] : (losses[half - 1] + losses[half]) / 2;
}

/// The largest loss of the nearest layer above or below that has one of the same kind.
std::optional<double> NeighbourOf(const Members& members, const Member& one, bool before) {
  std::optional<int> layer;
  for (const Member& other : members) {
    if (before ? other.layer >= one.layer : other.layer <= one.layer) continue;
    const bool nearer =
        !layer.has_value() || (before ? other.layer > *layer : other.layer < *layer);
    if (nearer) layer = other.layer;
  }
  std::optional<double> loss;
  for (const Member& other : members) {
    if (layer.has_value() && other.layer == *layer) loss = std::max(loss.value_or(0), other.loss);
  }
  return loss;
}

Json TrialsJson(const std::vector<ScalingTrial>& trials) {
  Json json = Json::array();
  for (const ScalingTrial& trial : trials) {
    const auto same = std::ranges::find_if(
        json, [&](const Json& entry) { return entry["scaling"] == trial.scaling; });
    Json& entry = same != json.end() ? *same
                                     : (json.push_back(Json{{"scaling", trial.scaling},
                                                            {"alpha", Json::array()},
                                                            {"relative_loss", Json::array()}}),
                                        json.back());
    entry["alpha"].push_back(Rounded(trial.alpha));
    entry["relative_loss"].push_back(Rounded(trial.relative_loss));
  }
  return json;
}

Json SiteJson(const LinearMetadata& first, const SiteOutcome& site) {
  Json top = Json::array(), bins = Json::array();
  for (const double bin : site.mean_abs) bins.push_back(Rounded(bin));
  double largest = 0;
  for (const SalientChannel& channel : site.top) {
    largest = std::max(largest, channel.mean_abs);
    top.push_back(Json{{"channel", channel.channel}, {"mean_abs", Rounded(channel.mean_abs)}});
  }
  const bool spread = site.median > 0;
  const bool scaled = first.outcome.scaling != "none" && first.outcome.alpha.has_value();
  return Json{{"name", first.site},
              {"linears", Json::array()},
              {"calibration_tokens", first.outcome.tokens},
              {"scaling", first.outcome.scaling},
              {"alpha", scaled ? Json(*first.outcome.alpha) : Json(nullptr)},
              {"salience",
               {{"channels", site.channels},
                {"median", Rounded(site.median)},
                {"largest_over_median", spread ? Rounded(largest / site.median) : Json(nullptr)},
                {"top_channels", std::move(top)},
                {"mean_abs", std::move(bins)}}},
              {"trials", TrialsJson(site.trials)}};
}

}  // namespace

Json LossByCause(const LinearMetadata& linear) {
  const Outcome& outcome = linear.outcome;
  if (!outcome.weight_loss.has_value() || !outcome.nearest_loss.has_value()) return nullptr;
  // Where levels are chosen, the loss counts rounded activations; where a runtime rounds them by
  // itself, their cost stands beside it.
  const bool counted = linear.decision.activations() != Activations::kFloat;
  const std::optional<double> activation =
      counted ? std::optional(std::max(0.0, outcome.loss_after - *outcome.weight_loss))
              : outcome.activation_loss;
  return Json{
      {"grid", Rounded(outcome.RelativeLoss(outcome.nearest_loss))},
      {"rounding", Rounded(outcome.RelativeLoss(*outcome.weight_loss - *outcome.nearest_loss))},
      {"activation", Rounded(outcome.RelativeLoss(activation))},
      {"propagation", Rounded(outcome.RelativeLoss(outcome.propagation_loss))}};
}

std::vector<Json> Standings(std::span<const LinearMetadata> linears) {
  Members all;
  std::map<std::string, Members> kinds;
  std::map<int64_t, Members> sizes;
  for (size_t i = 0; i < linears.size(); ++i) {
    const auto loss = linears[i].outcome.RelativeLoss();
    if (!linears[i].decision.quantizes() || !loss || !std::isfinite(*loss)) continue;
    const LinearKind kind = KindOfLinear(linears[i].name);
    const Member member = {i, *loss, kind.layer};
    all.push_back(member);
    kinds[kind.kind].push_back(member);
    sizes[linears[i].n * linears[i].k].push_back(member);
  }
  std::map<std::string, double> medians;
  for (const auto& [kind, members] : kinds) medians[kind] = MedianOf(members);
  std::vector<Json> standings(linears.size());
  for (const Member& member : all) {
    const LinearMetadata& linear = linears[member.linear];
    const std::string kind = KindOfLinear(linear.name).kind;
    const Members& of_kind = kinds[kind];
    const Members& of_size = sizes[linear.n * linear.k];
    const bool layered = member.layer >= 0;
    standings[member.linear] = Json{
        {"kind", kind},
        {"layer", layered ? Json(member.layer) : Json(nullptr)},
        {"place", PlaceIn(all, member)},
        {"of", all.size()},
        {"place_in_kind", PlaceIn(of_kind, member)},
        {"of_kind", of_kind.size()},
        {"place_in_size", PlaceIn(of_size, member)},
        {"of_size", of_size.size()},
        {"median_of_kind", Rounded(medians[kind])},
        {"layer_before", Rounded(layered ? NeighbourOf(of_kind, member, true) : std::nullopt)},
        {"layer_after", Rounded(layered ? NeighbourOf(of_kind, member, false) : std::nullopt)}};
  }
  return standings;
}

Json SitesJson(std::span<const LinearMetadata> linears) {
  Json sites = Json::array();
  std::map<std::string, size_t> places;
  for (const LinearMetadata& linear : linears) {
    if (!linear.outcome.site.has_value() || !linear.decision.quantizes()) continue;
    if (places.contains(linear.site)) continue;
    places[linear.site] = sites.size();
    sites.push_back(SiteJson(linear, *linear.outcome.site));
  }
  for (const LinearMetadata& linear : linears) {
    const auto place = places.find(linear.site);
    if (place != places.end() && linear.decision.quantizes()) {
      sites[place->second]["linears"].push_back(linear.name);
    }
  }
  return sites;
}

}  // namespace ptq
