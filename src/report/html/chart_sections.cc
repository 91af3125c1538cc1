// The sections made of charts: error by depth, samples, and what several runs have in common.
#include <algorithm>
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

constexpr size_t kMostPanels = 16;

Json Charts(Json charts) { return {{"type", "charts"}, {"charts", std::move(charts)}}; }

ChartSeries LossSeries(const Json& points, const char* key, const char* name, const char* colour) {
  ChartSeries series = {name, colour, {}};
  for (const Json& point : points) {
    if (!point.at(key).is_number()) continue;
    const double loss = point[key].get<double>();
    const auto layer = point.at("layer").get<int>();
    series.points.push_back(
        {double(layer), loss,
         "layer " + std::to_string(layer) + ": " + FormatPercent(loss) + " (" + name + ")"});
  }
  return series;
}

/// The losses of all panels.
std::vector<double> LossesIn(const Json& depth) {
  std::vector<double> losses;
  for (const Json& kind : depth) {
    for (const Json& point : kind.at("points")) {
      for (const char* key : {"relative_loss", "relative_loss_rtn"}) {
        if (point.at(key).is_number()) losses.push_back(point[key].get<double>());
      }
    }
  }
  return losses;
}

Json DepthChart(const Json& kind, const std::vector<double>& all) {
  const Json& points = kind.at("points");
  ChartFrame frame;
  frame.title = CellText(kind.at("kind"));
  const auto worst = std::ranges::max_element(
      points, {}, [](const Json& point) { return point.at("relative_loss").get<double>(); });
  frame.description = "Error of " + frame.title + " over " + std::to_string(points.size()) +
                      " layers; the largest is " +
                      FormatPercent(worst->at("relative_loss").get<double>()) + " in layer " +
                      CellText(worst->at("layer"));
  frame.x = {"layer", Scale::kLinear, Unit::kNumber, false, /*whole=*/true};
  frame.y = {"error", Scale::kLog, Unit::kPercent, false, false, all};
  return Chart(frame, {LossSeries(points, "relative_loss_rtn", "nearest", "other"),
                       LossSeries(points, "relative_loss", "written", "main")});
}

/// A point of a sweep, whose y is better the lower (or higher, when the section says so).
ChartSeries ParetoSeries(const Json& pareto, const char* name, const char* colour, bool best) {
  ChartSeries series = {name, colour, {}};
  series.line = best;
  for (const Json& point : pareto.at("points")) {
    const bool own = point.value("best", false);
    if (own != best || !point.at("x").is_number() || !point.at("y").is_number()) continue;
    series.points.push_back(
        {point["x"].get<double>(), point["y"].get<double>(), CellText(point.at("name"))});
  }
  std::ranges::sort(series.points, {}, &ChartPoint::x);
  return series;
}

Unit UnitOf(const Json& axis) {
  const std::string unit = axis.value("unit", "");
  if (unit == "bytes") return Unit::kBytes;
  return unit == "percent" ? Unit::kPercent : Unit::kNumber;
}

Json InUnit(const Json& value, Unit unit) {
  if (!value.is_number()) return PlainCell(value);
  return {{"text", FormatIn(unit, value.get<double>())}, {"sort", value}};
}

}  // namespace

Json DepthSection(const Json& document) {
  if (!document.contains("depth") || document["depth"].empty()) return nullptr;
  const Json& depth = document["depth"];
  const std::vector<double> all = LossesIn(depth);
  Json charts = Json::array();
  for (const Json& kind : depth) {
    if (charts.size() == kMostPanels) break;
    if (Json chart = DepthChart(kind, all); !chart.is_null()) charts.push_back(std::move(chart));
  }
  if (charts.empty()) return nullptr;
  std::string text = "Part of each output's energy that is lost, on the calibration data.";
  if (depth.size() > kMostPanels) {
    text += " The first " + std::to_string(kMostPanels) + " of " + std::to_string(depth.size()) +
            " kinds of linears.";
  }
  return SectionJson("depth", "Error by depth", text, Json::array({Charts(std::move(charts))}));
}

Json CalibrationSection(const Json& document) {
  if (!document.contains("calibration")) return nullptr;
  const Json& calibration = document["calibration"];
  Json facts = Json::array();
  constexpr std::pair<const char*, const char*> kFacts[] = {
      {"file", "File"},     {"format", "Format"},         {"samples", "Samples"},
      {"tokens", "Tokens"}, {"texts_read", "Texts read"}, {"texts_skipped", "Texts skipped"}};
  for (const auto& [key, label] : kFacts) {
    const Json value = calibration.value(key, Json());
    if (!value.is_null()) facts.push_back({{"label", label}, {"value", CellText(value)}});
  }
  Json blocks = Json::array({Json{{"type", "facts"}, {"facts", std::move(facts)}}});
  std::vector<ChartBar> bars;
  for (const Json& bin : calibration.value("lengths", Json::array())) {
    bars.push_back({CellText(bin.at("first")) + "–" + CellText(bin.at("last")),
                    bin.at("count").get<double>()});
  }
  ChartFrame frame;
  frame.title = "Tokens of a sample";
  frame.x.title = "tokens";
  frame.y = {"samples", Scale::kLinear, Unit::kNumber, true, true};
  frame.width = 480;
  for (const ChartBar& bar : bars) {
    frame.description += (frame.description.empty() ? "" : ", ") + bar.label +
                         " tokens: " + FormatNumber(bar.value, 9);
  }
  if (Json chart = BarChart(frame, bars); !chart.is_null()) {
    blocks.push_back(Charts(Json::array({std::move(chart)})));
  }
  return SectionJson("calibration", "Calibration data", "", std::move(blocks));
}

Json ParetoSection(const Json& document) {
  if (!document.contains("pareto")) return nullptr;
  const Json& pareto = document["pareto"];
  const Json& x = pareto.at("x");
  const Json& y = pareto.at("y");
  ChartFrame frame;
  frame.title = CellText(y.at("label")) + " by " + CellText(x.at("label"));
  frame.description = "Settings by " + frame.title + "; the table below has the figures";
  frame.x = {CellText(x.at("label")), Scale::kLinear, UnitOf(x)};
  frame.y = {CellText(y.at("label")), y.value("log", false) ? Scale::kLog : Scale::kLinear,
             UnitOf(y)};
  frame.width = 640;
  frame.height = 320;
  Json blocks = Json::array();
  Json chart = Chart(frame, {ParetoSeries(pareto, "others", "other", false),
                             ParetoSeries(pareto, "none is better in both", "main", true)});
  if (!chart.is_null()) blocks.push_back(Charts(Json::array({std::move(chart)})));
  Json table = TableBlock("pareto-table", "Settings",
                          {{"Setting"},
                           {frame.x.title, true},
                           {frame.y.title, true},
                           {"On the curve", false, true},
                           {"Note"}});
  for (const Json& point : pareto.at("points")) {
    table["rows"].push_back({CellText(point.at("name")), InUnit(point.at("x"), frame.x.unit),
                             InUnit(point.at("y"), frame.y.unit),
                             point.value("best", false) ? "yes" : "no",
                             CellText(point.value("note", Json("")))});
  }
  blocks.push_back(std::move(table));
  return SectionJson("pareto", "Pareto curve", pareto.value("text", ""), std::move(blocks));
}

Json JobsSection(const Json& document) {
  if (!document.contains("jobs")) return nullptr;
  Json table = TableBlock("jobs-table", "Models of the batch",
                          {{"Job"},
                           {"Status", false, true},
                           {"Time", true},
                           {"Before", true},
                           {"After", true},
                           {"Error", true},
                           {"Note"}});
  for (const Json& job : document["jobs"]) {
    const std::string status = CellText(job.at("status"));
    Json cell = {{"text", status}};
    if (status == "done" || status == "failed") cell["class"] = status == "done" ? "good" : "bad";
    table["rows"].push_back(
        {CellText(job.at("name")), std::move(cell),
         NumberCell(job.value("seconds", Json()), FormatSeconds),
         BytesCell(job.value("bytes_before", Json())), BytesCell(job.value("bytes_after", Json())),
         PercentCell(job.value("relative_loss", Json())), CellText(job.value("note", Json("")))});
  }
  return SectionJson("jobs", "Jobs", "", Json::array({std::move(table)}));
}

Json ComparisonSection(const Json& document) {
  if (!document.contains("comparison")) return nullptr;
  const Json& comparison = document["comparison"];
  const std::string a = CellText(comparison.at("names").at(0));
  const std::string b = CellText(comparison.at("names").at(1));
  Json blocks = Json::array();
  Json facts = TableBlock("comparison-facts", "The whole", {{"What"}, {"A: " + a}, {"B: " + b}});
  for (const Json& fact : comparison.value("facts", Json::array())) {
    facts["rows"].push_back({CellText(fact.at("label")), CellText(fact.at("values").at(0)),
                             CellText(fact.at("values").at(1))});
  }
  if (!facts["rows"].empty()) blocks.push_back(std::move(facts));
  Json table = TableBlock("comparison-table", "Linears that differ",
                          {{"Linear"},
                           {"Change"},
                           {"Error A", true},
                           {"Error B", true},
                           {"Size A", true},
                           {"Size B", true}});
  for (const Json& linear : comparison.value("linears", Json::array())) {
    table["rows"].push_back(
        {CellText(linear.at("name")), CellText(linear.value("change", Json(""))),
         PercentCell(linear.at("relative_loss").at(0)),
         PercentCell(linear.at("relative_loss").at(1)), BytesCell(linear.at("bytes").at(0)),
         BytesCell(linear.at("bytes").at(1))});
  }
  if (!table["rows"].empty()) blocks.push_back(std::move(table));
  return SectionJson("comparison", a + " and " + b, comparison.value("text", ""),
                     std::move(blocks));
}

}  // namespace ptq
