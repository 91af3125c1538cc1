// An analysis as tables and as JSON.
#include "ptq/report/analysis_report.h"

#include <algorithm>
#include <utility>

#include "ptq/base/format.h"
#include "ptq/plan/linear_kind.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

size_t Shown(size_t rows, size_t top) { return top == 0 ? rows : std::min(rows, top); }

double LossNow(const LinearSensitivity& linear) {
  const auto now = std::ranges::find(linear.widths, linear.bits, &WidthLoss::bits);
  return now == linear.widths.end() ? linear.widths.front().relative_loss : now->relative_loss;
}

std::string SensitivityText(const AnalysisReport& report, size_t top) {
  std::vector<const LinearSensitivity*> linears;
  for (const LinearSensitivity& linear : report.linears) linears.push_back(&linear);
  std::ranges::stable_sort(linears,
                           [](const auto* a, const auto* b) { return LossNow(*a) > LossNow(*b); });
  std::vector<TextTable::Column> columns = {{"most sensitive"},
                                            {"N x K", TextTable::Align::kRight}};
  for (const WidthLoss& width : linears.front()->widths) {
    columns.push_back({std::to_string(width.bits) + " bits", TextTable::Align::kRight});
  }
  TextTable table(std::move(columns));
  for (size_t i = 0; i < Shown(linears.size(), top); ++i) {
    std::vector<std::string> row = {
        linears[i]->name, std::to_string(linears[i]->n) + " x " + std::to_string(linears[i]->k)};
    for (const WidthLoss& width : linears[i]->widths) {
      row.push_back(FormatPercent(width.relative_loss));
    }
    table.AddRow(std::move(row));
  }
  return table.Text();
}

std::string CandidatesText(const AnalysisReport& report, size_t top) {
  TextTable table({{"worth more bits"},
                   {"from", TextTable::Align::kRight},
                   {"to", TextTable::Align::kRight},
                   {"gain", TextTable::Align::kRight},
                   {"more bytes", TextTable::Align::kRight},
                   {"gain per MiB", TextTable::Align::kRight}});
  for (size_t i = 0; i < Shown(report.candidates.size(), top); ++i) {
    const Candidate& one = report.candidates[i];
    table.AddRow({one.name, std::to_string(one.from), std::to_string(one.to),
                  FormatPercent(one.gain), FormatBytes(one.bytes),
                  FormatPercent(one.PerByte() * 1048576)});
  }
  return table.Text();
}

std::string SalienceText(const AnalysisReport& report, size_t top) {
  const auto spread = [](const SiteSalience& site) {
    const bool known = !site.salience.top.empty() && site.salience.median > 0;
    return known ? site.salience.top.front().mean_abs / site.salience.median : 0;
  };
  std::vector<const SiteSalience*> sites;
  for (const SiteSalience& site : report.sites) sites.push_back(&site);
  std::ranges::stable_sort(sites,
                           [&](const auto* a, const auto* b) { return spread(*a) > spread(*b); });
  TextTable table({{"most salient channels of what is read by"},
                   {"channels", TextTable::Align::kRight},
                   {"largest", TextTable::Align::kRight},
                   {"of the median", TextTable::Align::kRight}});
  for (size_t i = 0; i < Shown(sites.size(), top); ++i) {
    const SiteSalience& site = *sites[i];
    std::string channels;
    for (size_t c = 0; c < std::min<size_t>(3, site.salience.top.size()); ++c) {
      channels += (c == 0 ? "" : ", ") + std::to_string(site.salience.top[c].channel);
    }
    table.AddRow({site.linears.front(), std::to_string(site.salience.channels), channels,
                  FormatNumber(spread(site), 3) + "x"});
  }
  return table.Text();
}

std::string GrowthText(const AnalysisReport& report) {
  TextTable table(
      {{"behind"}, {"cosine", TextTable::Align::kRight}, {"error", TextTable::Align::kRight}});
  for (const SegmentError& segment : report.growth) {
    table.AddRow({segment.linear.empty() ? segment.value : segment.linear,
                  FormatNumber(segment.cosine, 5), FormatPercent(segment.relative_error)});
  }
  return table.Text();
}

}  // namespace

std::string AnalysisText(const AnalysisReport& report, size_t top) {
  if (report.linears.empty()) return "no linear saw a token\n";
  std::string text = SensitivityText(report, top) + '\n' + CandidatesText(report, top) + '\n' +
                     SalienceText(report, top);
  if (!report.growth.empty()) text += '\n' + GrowthText(report);
  return text;
}

Json AnalysisJson(const AnalysisReport& report) {
  Json linears = Json::array(), candidates = Json::array(), sites = Json::array();
  for (const LinearSensitivity& linear : report.linears) {
    const LinearKind kind = KindOfLinear(linear.name);
    Json widths = Json::array();
    for (const WidthLoss& width : linear.widths) {
      widths.push_back(
          {{"bits", width.bits}, {"bytes", width.bytes}, {"relative_loss", width.relative_loss}});
    }
    linears.push_back({{"name", linear.name},
                       {"kind", kind.kind},
                       {"layer", kind.layer >= 0 ? Json(kind.layer) : Json(nullptr)},
                       {"n", linear.n},
                       {"k", linear.k},
                       {"bits", linear.bits},
                       {"widths", std::move(widths)}});
  }
  for (const Candidate& one : report.candidates) {
    candidates.push_back({{"name", one.name},
                          {"from_bits", one.from},
                          {"to_bits", one.to},
                          {"gain", one.gain},
                          {"bytes", one.bytes},
                          {"gain_per_byte", one.PerByte()}});
  }
  for (const SiteSalience& site : report.sites) {
    Json top = Json::array();
    for (const SalientChannel& channel : site.salience.top) {
      top.push_back({{"channel", channel.channel}, {"mean_abs", channel.mean_abs}});
    }
    sites.push_back({{"name", site.site},
                     {"linears", site.linears},
                     {"calibration_tokens", site.tokens},
                     {"channels", site.salience.channels},
                     {"median", site.salience.median},
                     {"top_channels", std::move(top)},
                     {"mean_abs", site.salience.mean_abs}});
  }
  Json growth = Json::array();
  for (const SegmentError& segment : report.growth) {
    growth.push_back({{"value", segment.value},
                      {"linear", segment.linear.empty() ? Json(nullptr) : Json(segment.linear)},
                      {"cosine", segment.cosine},
                      {"relative_error", segment.relative_error}});
  }
  return {{"calibration", report.calibration},
          {"linears", std::move(linears)},
          {"candidates", std::move(candidates)},
          {"sites", std::move(sites)},
          {"growth", std::move(growth)}};
}

}  // namespace ptq
