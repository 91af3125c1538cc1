// Turns outcomes into records and into what people read.
#include "ptq/plan/outcome.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string_view>
#include <type_traits>
#include <utility>

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

Json Shown(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
Json Shown(const std::optional<double>& value) { return value ? Shown(*value) : Json(nullptr); }
template <class T>
Json Shown(const T& value) {
  return value;
}
Json Shown(const std::optional<SiteOutcome>& /*value*/) { return nullptr; }  // is never shown here

template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};

constexpr size_t kMostBins = 64, kMostTop = 8;

}  // namespace

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SalientChannel, channel, mean_abs)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ScalingTrial, scaling, alpha, relative_loss)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SiteOutcome, channels, mean_abs, median, top, trials)

SiteOutcome SiteOutcomeOf(std::span<const float> mean_abs, std::vector<ScalingTrial> trials) {
  SiteOutcome site;
  const size_t k = mean_abs.size();
  site.channels = int64_t(k);
  site.trials = std::move(trials);
  if (k == 0) return site;
  const size_t bins = std::min(k, kMostBins);
  for (size_t bin = 0; bin < bins; ++bin) {
    const auto of_bin = mean_abs.subspan(bin * k / bins, (bin + 1) * k / bins - bin * k / bins);
    site.mean_abs.push_back(double(*std::ranges::max_element(of_bin)));
  }
  std::vector<float> sorted(mean_abs.begin(), mean_abs.end());
  std::ranges::nth_element(sorted, sorted.begin() + std::ptrdiff_t(k / 2));
  site.median = double(sorted[k / 2]);
  std::vector<size_t> order(k);
  std::iota(order.begin(), order.end(), size_t{0});
  const auto last = order.begin() + std::ptrdiff_t(std::min(k, kMostTop));
  std::ranges::partial_sort(order, last, [&](size_t a, size_t b) {
    return mean_abs[a] != mean_abs[b] ? mean_abs[a] > mean_abs[b] : a < b;
  });
  for (auto channel = order.begin(); channel != last; ++channel) {
    site.top.push_back({int64_t(*channel), double(mean_abs[*channel])});
  }
  return site;
}

void Outcome::SetLevels(const ActivationLevels& levels) {
  activation_scale = levels.scale;
  activation_zero_point = levels.zero_point;
  activation_bits = levels.bits;
}

std::optional<ActivationLevels> Outcome::Levels() const {
  if (!activation_scale.has_value()) return std::nullopt;
  return ActivationLevels{float(*activation_scale), int(activation_zero_point),
                          int(activation_bits)};
}

std::optional<double> Outcome::Relative(double loss) const {
  if (!(energy > 0)) return std::nullopt;
  return loss / energy + 0.0;  // a negative zero would look like an error in a file
}

void to_json(nlohmann::json& json, const Outcome& outcome) {
  json = nlohmann::json::object();
  ForEachField([&](const char* name, auto field, FieldUse) {
    const auto& value = outcome.*field;
    if constexpr (IsOptional<std::decay_t<decltype(value)>>::value) {
      if (value.has_value()) json[name] = *value;
    } else {
      json[name] = value;
    }
  });
}

void from_json(const nlohmann::json& json, Outcome& outcome) {
  ForEachField([&](const char* name, auto field, FieldUse) {
    auto& value = outcome.*field;
    if constexpr (IsOptional<std::decay_t<decltype(value)>>::value) {
      if (json.contains(name)) value = json.at(name).get<std::decay_t<decltype(*value)>>();
    } else {
      json.at(name).get_to(value);
    }
  });
}

Json ShownFields(const Outcome& outcome) {
  Json json = Json::object();
  ForEachField([&](const char* name, auto field, FieldUse use) {
    if (use != FieldUse::kShown) return;
    json[name] = Shown(outcome.*field);
    if (std::string_view(name) == "loss_after") {
      json["relative_loss"] = Shown(outcome.RelativeLoss());
    }
  });
  return json;
}

}  // namespace ptq
