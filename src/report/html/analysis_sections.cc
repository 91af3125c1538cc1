// The sections of an analysis: widths, candidates, channels, growth.
#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "charts.h"
#include "sections.h"

#include "ptq/base/format.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

const Json* AnalysisIn(const Json& document, const char* part) {
  if (!document.contains("analysis")) return nullptr;
  const Json& found = document["analysis"].at(part);
  return found.empty() ? nullptr : &found;
}

Json GrowthChart(const Json& growth) {
  ChartSeries series = {"error", "main", {}};
  for (size_t i = 0; i < growth.size(); ++i) {
    const double error = growth[i].at("relative_error").get<double>();
    series.points.push_back(
        {double(i), error, CellText(growth[i].at("value")) + ": " + FormatPercent(error)});
  }
  ChartFrame frame;
  frame.title = "Error of what each part of the network hands on";
  frame.description = "Relative error behind " + std::to_string(growth.size()) +
                      " parts of the network, at the end " +
                      FormatPercent(growth.back().at("relative_error").get<double>());
  frame.x = {"part of the network", Scale::kLinear, Unit::kNumber, false, true};
  frame.y = {"error", Scale::kLog, Unit::kPercent};
  frame.width = 640;
  frame.height = 260;
  return Chart(frame, {series});
}

}  // namespace

Json GrowthSection(const Json& document) {
  const Json* const growth = AnalysisIn(document, "growth");
  if (growth == nullptr) return nullptr;
  Json table = TableBlock("growth-table", "From the first part of the network to the last",
                          {{"Behind"}, {"Value"}, {"Cosine", true}, {"Error", true}});
  for (const Json& segment : *growth) {
    table["rows"].push_back(
        {CellText(segment.at("linear")), CellText(segment.at("value")),
         NumberCell(segment.at("cosine"), [](double x) { return FormatNumber(x, 5); }),
         PercentCell(segment.at("relative_error"))});
  }
  Json blocks = Json::array();
  if (Json chart = GrowthChart(*growth); !chart.is_null()) {
    blocks.push_back({{"type", "charts"}, {"charts", Json::array({std::move(chart)})}});
  }
  blocks.push_back(std::move(table));
  return SectionJson("growth", "How errors grow",
                     "The result's values against the source's on the same texts.",
                     std::move(blocks));
}

Json SensitivitySection(const Json& document) {
  const Json* const linears = AnalysisIn(document, "linears");
  if (linears == nullptr) return nullptr;
  std::vector<ColumnSpec> columns = {{"Linear"}};
  for (const Json& width : linears->front().at("widths")) {
    columns.push_back({CellText(width.at("bits")) + " bits", true});
  }
  columns.push_back({"N × K", true});
  columns.push_back({"Kind", false, true});
  Json table = TableBlock("sensitivity-table", "Part of the output's energy that is lost", columns);
  for (const Json& linear : *linears) {
    if (table["rows"].size() == kMostRows) break;
    Json row = Json::array({CellText(linear.at("name"))});
    for (const Json& width : linear.at("widths")) {
      row.push_back(PercentCell(width.at("relative_loss")));
    }
    row.push_back({{"text", CellText(linear["n"]) + " × " + CellText(linear["k"])},
                   {"sort", linear["n"].get<double>() * linear["k"].get<double>()}});
    row.push_back(CellText(linear.at("kind")));
    table["rows"].push_back(std::move(row));
  }
  return SectionJson("sensitivity", "Sensitivity",
                     "What each linear loses at each width by rounding to nearest.",
                     Json::array({std::move(table)}));
}

Json CandidatesSection(const Json& document) {
  const Json* const candidates = AnalysisIn(document, "candidates");
  if (candidates == nullptr) return nullptr;
  const double most = std::max(1e-300, candidates->front().at("gain_per_byte").get<double>());
  Json table = TableBlock("candidates-table", "The largest gain for each byte first",
                          {{"Linear"},
                           {"Bits", true},
                           {"To", true},
                           {"Gain", true},
                           {"More bytes", true},
                           {"Gain for each MiB", true}});
  for (const Json& one : *candidates) {
    if (table["rows"].size() == kMostRows) break;
    const double per_byte = one.at("gain_per_byte").get<double>();
    table["rows"].push_back({CellText(one.at("name")), PlainCell(one.at("from_bits")),
                             PlainCell(one.at("to_bits")), PercentCell(one.at("gain")),
                             BytesCell(one.at("bytes")),
                             WithBar(PercentCell(per_byte * 1048576), per_byte / most)});
  }
  return SectionJson("candidates", "Worth more bits", "", Json::array({std::move(table)}));
}

Json ChannelsSection(const Json& document) {
  const Json* const sites = AnalysisIn(document, "sites");
  if (sites == nullptr) return nullptr;
  Json table =
      TableBlock("channels-table", "Mean |x| of the activations that linears read",
                 {{"Linears"},
                  {"Channels", true},
                  {"Peak", true, false, "The most salient channel as a multiple of the median"},
                  {"Salience", true, false, "Mean |x|, channels from first to last"},
                  {"Top channels"}});
  for (const Json& site : *sites) {
    if (table["rows"].size() == kMostPictures) break;
    std::string linears, top;
    for (const Json& linear : site.at("linears")) {
      linears += (linears.empty() ? "" : ", ") + CellText(linear);
    }
    const Json& channels = site.at("top_channels");
    for (size_t i = 0; i < std::min<size_t>(3, channels.size()); ++i) {
      top += (i == 0 ? "" : ", ") + CellText(channels[i].at("channel"));
    }
    const double median = site.at("median").get<double>();
    const Json ratio = median > 0 && !channels.empty()
                           ? Json(channels[0].at("mean_abs").get<double>() / median)
                           : Json(nullptr);
    table["rows"].push_back(
        {linears, PlainCell(site.at("channels")),
         NumberCell(ratio, [](double x) { return FormatNumber(x, 3) + "×"; }),
         Json{{"text", ""},
              {"sort", ratio},
              {"picture", Profile(site.at("mean_abs").get<std::vector<double>>(),
                                  "mean |x| of " + linears + " by channel")}},
         top});
  }
  return SectionJson("channels", "Salient channels", "", Json::array({std::move(table)}));
}

}  // namespace ptq
