// Makes cells, tables and sections, and lists the sections of a page.
#include <cmath>
#include <utility>

#include "sections.h"

#include "ptq/base/format.h"
#include "ptq/base/json.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

}  // namespace

const std::vector<SectionMaker>& Sections() {
  static const std::vector<SectionMaker> kSections = {
      SummarySection,    GateSection,        EvaluationSection,  ParetoSection,
      JobsSection,       ComparisonSection,  DepthSection,       TensorsSection,
      SitesSection,      SizesSection,       CalibrationSection, GrowthSection,
      CandidatesSection, SensitivitySection, ChannelsSection,    RecipeSection};
  return kSections;
}

Json NumberCell(const Json& value, std::string (*format)(double)) {
  if (!value.is_number() || !std::isfinite(value.get<double>())) {
    return {{"text", "–"}, {"sort", nullptr}};
  }
  return {{"text", format(value.get<double>())}, {"sort", value}};
}

Json BytesCell(const Json& value) {
  return NumberCell(value, [](double bytes) { return FormatBytes(int64_t(bytes)); });
}

Json PercentCell(const Json& value) { return NumberCell(value, FormatPercent); }

Json PlainCell(const Json& value) {
  return NumberCell(value, [](double number) { return FormatNumber(number, 4); });
}

std::string CellText(const Json& value) {
  if (value.is_null()) return "–";
  return value.is_string() ? value.get<std::string>() : DumpJson(value);
}

Json WithBar(Json cell, double share) {
  cell["bar"] =
      std::isfinite(share) ? std::round(std::fmin(1, std::fmax(0, share)) * 1000) / 10 : 0;
  return cell;
}

Json TableBlock(const std::string& id, const std::string& caption,
                const std::vector<ColumnSpec>& columns) {
  Json json = {{"type", "table"}, {"id", id}, {"caption", caption}, {"columns", Json::array()}};
  for (const ColumnSpec& column : columns) {
    json["columns"].push_back({{"title", column.title},
                               {"number", column.number},
                               {"choices", column.choices},
                               {"help", column.help}});
  }
  json["rows"] = Json::array();
  return json;
}

Json SectionJson(const std::string& id, const std::string& title, const std::string& text,
                 Json blocks) {
  return {{"id", id}, {"title", title}, {"text", text}, {"blocks", std::move(blocks)}};
}

}  // namespace ptq
