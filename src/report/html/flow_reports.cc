// What gates, sweeps and comparisons put into a report's document.
#include "flow_reports.h"

#include <cmath>

#include "ptq/base/format.h"
#include "ptq/base/json.h"
#include "ptq/report/report.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

/// "bits 4, group-size 32".
std::string SettingsText(const SweepResult& result) {
  std::string text;
  for (const auto& [key, value] : result.settings) {
    text += (text.empty() ? "" : ", ") + key + " " + value;
  }
  return text;
}

/// Less is better of most figures; what is better the more is shown as it is.
Json QualityOf(const SweepResult& result) {
  const Figure* const figure = result.Telling();
  return figure == nullptr ? NumberOrNull(result.relative_loss) : NumberOrNull(figure->value);
}

Json SideText(const std::optional<TensorState>& state, const char* what) {
  if (!state.has_value()) return nullptr;
  return std::string(what) == "bytes" ? Json(state->bytes) : NumberOrNull(state->relative_loss);
}

std::string FactText(std::optional<double> value) {
  return value.has_value() ? FormatNumber(*value, 4) : "-";
}

std::string FormOf(const std::optional<TensorState>& state) {
  return state.has_value() ? state->form : "absent";
}

Json ComparedFacts(const Comparison& comparison) {
  const auto& [a, b] = comparison.sides;
  Json facts = Json::array();
  facts.push_back({{"label", "size"}, {"values", {FormatBytes(a.bytes), FormatBytes(b.bytes)}}});
  for (const RecipeChange& change : comparison.recipe) {
    facts.push_back({{"label", "recipe: " + change.key}, {"values", change.values}});
  }
  for (const Figure& figure : b.figures) {
    const Figure* const other = FindFigure(a.figures, figure.name);
    facts.push_back(
        {{"label", figure.name},
         {"values",
          {FactText(other == nullptr ? figure.reference : other->value), FactText(figure.value)}}});
  }
  return facts;
}

}  // namespace

Json GateMembers(const Json& gate) {
  Json checks = Json::array(), fallbacks = Json::array();
  bool passed = true;
  for (const Json& result : gate.at("results")) {
    passed = passed && result.at("passed").get<bool>();
    checks.push_back({{"metric", result.at("figure")},
                      {"limit", result.at("gate")},
                      {"value", result.at("value")},
                      {"reference", result.at("reference")},
                      {"passed", result.at("passed")}});
  }
  for (const Json& entry : gate.at("fallback")) {
    const Json& before = entry.at("bytes_before");
    fallbacks.push_back(
        {{"tensor", entry.at("name")},
         {"to", entry.at("form")},
         {"relative_loss", entry.at("relative_loss")},
         {"bytes", before.is_number() ? Json(CountIn(entry, "bytes") - before.get<int64_t>())
                                      : Json(nullptr)}});
  }
  return {{"passed", passed},
          {"text", "Measured on " + gate.at("text").at("file").get<std::string>() + "; " +
                       std::to_string(CountIn(gate, "attempts")) + " attempts."},
          {"checks", std::move(checks)},
          {"fallbacks", std::move(fallbacks)}};
}

Json ReportOf(const SweepReport& report) {
  Json points = Json::array();
  for (size_t i = 0; i < report.results.size(); ++i) {
    const SweepResult& result = report.results[i];
    const bool made = result.error.empty();
    points.push_back({{"name", SettingsText(result)},
                      {"x", made ? Json(result.bytes) : Json(nullptr)},
                      {"y", made ? QualityOf(result) : Json(nullptr)},
                      {"best", result.pareto},
                      {"note", !made              ? result.error
                               : report.best == i ? std::string("picked")
                                                  : std::string()}});
  }
  const Figure* told = nullptr;
  for (const SweepResult& result : report.results) told = told ? told : result.Telling();
  Json y = {{"label", report.quality}};
  if (told == nullptr) y["unit"] = "percent";
  // Errors span orders of magnitude; shares and cosines do not.
  y["log"] = told == nullptr || told->better == Better::kLower;
  return {
      {"title", TitleOf(report.directory)},
      {"heading", "Sweep report"},
      {"pareto", {{"x", {{"label", "size"}, {"unit", "bytes"}}}, {"y", y}, {"points", points}}}};
}

Json ReportOf(const Comparison& comparison) {
  Json linears = Json::array();
  for (const ComparedTensor& tensor : comparison.tensors) {
    if (!tensor.differs()) continue;
    const auto& [a, b] = tensor.states;
    const bool same = FormOf(a) == FormOf(b);
    linears.push_back(
        {{"name", tensor.name},
         {"change", same ? FormOf(a) : FormOf(a) + " -> " + FormOf(b)},
         {"relative_loss", {SideText(a, "relative_loss"), SideText(b, "relative_loss")}},
         {"bytes", {SideText(a, "bytes"), SideText(b, "bytes")}}});
  }
  const auto& [a, b] = comparison.sides;
  return {{"title", TitleOf(a.path) + " and " + TitleOf(b.path)},
          {"heading", "Comparison"},
          {"comparison",
           {{"names", {TitleOf(a.path), TitleOf(b.path)}},
            {"facts", ComparedFacts(comparison)},
            {"linears", std::move(linears)}}}};
}

}  // namespace ptq
