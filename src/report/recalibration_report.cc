// Lists sites by what codes for other texts lose on these.
#include "ptq/report/recalibration_report.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "ptq/base/json.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShownSites = 10;

double Excess(const SiteDrift& site) { return site.loss_before - site.loss_now; }

}  // namespace

std::string DriftText(const RecalibrationReport& report) {
  if (!report.unknown.empty()) return "drift         not known: " + report.unknown + "\n";
  using Align = TextTable::Align;
  std::vector<const SiteDrift*> sites;
  for (const SiteDrift& site : report.sites) sites.push_back(&site);
  std::ranges::stable_sort(sites, std::greater<>(), [](const auto* site) { return Excess(*site); });
  if (sites.size() > kShownSites) sites.resize(kShownSites);
  TextTable table({{"linears", Align::kLeft},
                   {"mean |x|", Align::kRight},
                   {"subspace", Align::kRight},
                   {"error before", Align::kRight},
                   {"error now", Align::kRight},
                   {"recalibrated", Align::kRight}});
  for (const SiteDrift* site : sites) {
    table.AddRow(
        {site->linears, FormatPercent(site->statistics.mean_abs),
         std::isfinite(site->statistics.subspace) ? FormatPercent(site->statistics.subspace) : "-",
         FormatPercent(site->loss_before_on_before), FormatPercent(site->loss_before),
         FormatPercent(site->loss_now)});
  }
  return table.Text() + "drift         " + FormatPercent(report.drift) +
         " more error on the new texts than with codes for them; mean |x| changes by " +
         FormatPercent(report.mean_abs) + ", the leading subspace by " +
         FormatPercent(report.subspace) + "\n";
}

Json DriftJson(const RecalibrationReport& report) {
  Json sites = Json::array();
  for (const SiteDrift& site : report.sites) {
    sites.push_back({{"site", site.site},
                     {"linears", site.linears},
                     {"mean_abs", NumberOrNull(site.statistics.mean_abs)},
                     {"subspace", NumberOrNull(site.statistics.subspace)},
                     {"relative_loss_before", NumberOrNull(site.loss_before_on_before)},
                     {"relative_loss_old_codes", NumberOrNull(site.loss_before)},
                     {"relative_loss_new_codes", NumberOrNull(site.loss_now)}});
  }
  const bool known = report.unknown.empty();
  return {{"known", known},
          {"note", known ? Json(nullptr) : Json(report.unknown)},
          {"drift", known ? NumberOrNull(report.drift) : Json(nullptr)},
          {"mean_abs", known ? NumberOrNull(report.mean_abs) : Json(nullptr)},
          {"subspace", known ? NumberOrNull(report.subspace) : Json(nullptr)},
          {"needed", report.needed},
          {"sites", std::move(sites)}};
}

}  // namespace ptq
