// Brings points of a sweep into rows.
#include "ptq/report/sweep_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include <nlohmann/json.hpp>

#include "ptq/base/format.h"
#include "ptq/base/json.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShownFigures = 3;

/// The names of the figures that points have; all have the same where they have any.
std::vector<std::string> FigureNames(const SweepReport& report) {
  std::vector<std::string> names;
  for (const SweepResult& result : report.results) {
    if (result.figures.size() <= names.size()) continue;
    names.clear();
    for (const Figure& figure : result.figures) names.push_back(figure.name);
  }
  return names;
}

std::string FigureText(const SweepResult& result, const std::string& name) {
  const Figure* const figure = FindFigure(result.figures, name);
  return figure != nullptr && figure->value.has_value() ? FormatNumber(*figure->value, 4) : "-";
}

/// Smallest first; those that could not be made come last.
std::vector<size_t> BySize(const SweepReport& report) {
  std::vector<size_t> order(report.results.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::ranges::stable_sort(order, {}, [&](size_t i) {
    const SweepResult& result = report.results[i];
    return std::pair(!result.error.empty(), result.bytes);
  });
  return order;
}

std::string CsvField(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string CsvNumber(std::optional<double> value) {
  if (!value.has_value() || !std::isfinite(*value)) return "";
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", *value);
  return text;
}

std::string Joined(const std::vector<std::string>& fields) {
  std::string line;
  for (size_t i = 0; i < fields.size(); ++i) line += (i == 0 ? "" : ",") + CsvField(fields[i]);
  return line + "\r\n";
}

}  // namespace

std::string SweepText(const SweepReport& report) {
  using Align = TextTable::Align;
  std::vector<std::string> names = FigureNames(report);
  std::erase(names, "ppl_ratio");
  names.resize(std::min(names.size(), kShownFigures));
  std::vector<TextTable::Column> columns;
  for (const auto& [key, value] : report.results.front().settings) {
    columns.push_back({key, Align::kRight});
  }
  columns.push_back({"size", Align::kRight});
  for (const std::string& name : names) columns.push_back({name, Align::kRight});
  columns.push_back({"output error", Align::kRight});
  columns.push_back({"time", Align::kRight});
  columns.push_back({"", Align::kLeft});
  TextTable table(columns);
  std::string errors;
  for (const size_t i : BySize(report)) {
    const SweepResult& result = report.results[i];
    const bool made = result.error.empty();
    std::vector<std::string> cells;
    for (const auto& [key, value] : result.settings) cells.push_back(value);
    cells.push_back(made ? FormatBytes(result.bytes) : "-");
    for (const std::string& name : names) cells.push_back(FigureText(result, name));
    cells.push_back(made ? FormatPercent(result.relative_loss) : "-");
    cells.push_back(FormatSeconds(result.seconds));
    cells.emplace_back(!made ? "failed" : report.best == i ? "* picked" : result.pareto ? "*" : "");
    table.AddRow(std::move(cells));
    if (!made) errors += "failed        " + result.id + ": " + result.error + "\n";
  }
  std::string text = table.Text() + errors;
  text += "quality by    " + report.quality + "; *: no other result is as small and as good\n";
  if (report.best.has_value()) {
    const SweepResult& best = report.results[*report.best];
    text += "picked        " + (report.directory / best.id).string() +
            (best.kept ? "\n" : " (its files were removed; run the sweep with --force)\n");
  }
  return text + "time          " + FormatSeconds(report.seconds) + "\n";
}

Json SweepJson(const SweepReport& report) {
  Json points = Json::array();
  for (const SweepResult& result : report.results) {
    const bool made = result.error.empty();
    Json settings = Json::object(), figures = Json::object();
    for (const auto& [key, value] : result.settings) settings[key] = value;
    for (const Figure& figure : result.figures) figures[figure.name] = NumberOrNull(figure.value);
    points.push_back({{"id", result.id},
                      {"settings", std::move(settings)},
                      {"error", made ? Json(nullptr) : Json(result.error)},
                      {"bytes", made ? Json(result.bytes) : Json(nullptr)},
                      {"relative_loss", made ? NumberOrNull(result.relative_loss) : Json(nullptr)},
                      {"figures", std::move(figures)},
                      {"seconds", result.seconds},
                      {"earlier", result.earlier},
                      {"pareto", result.pareto},
                      {"kept", result.kept}});
  }
  return {{"destination", report.directory.string()},
          {"quality", report.quality},
          {"best", report.best.has_value() ? Json(report.results[*report.best].id) : Json(nullptr)},
          {"seconds", report.seconds},
          {"points", std::move(points)}};
}

std::string SweepCsv(const SweepReport& report) {
  const std::vector<std::string> names = FigureNames(report);
  std::vector<std::string> header = {"id"};
  for (const auto& [key, value] : report.results.front().settings) header.push_back(key);
  header.insert(header.end(), {"bytes", "relative_loss"});
  header.insert(header.end(), names.begin(), names.end());
  header.insert(header.end(), {"seconds", "pareto", "error"});
  std::string text = Joined(header);
  for (const SweepResult& result : report.results) {
    const bool made = result.error.empty();
    std::vector<std::string> fields = {result.id};
    for (const auto& [key, value] : result.settings) fields.push_back(value);
    fields.push_back(made ? std::to_string(result.bytes) : "");
    fields.push_back(made ? CsvNumber(result.relative_loss) : "");
    for (const std::string& name : names) {
      const Figure* const figure = FindFigure(result.figures, name);
      fields.push_back(figure == nullptr ? "" : CsvNumber(figure->value));
    }
    fields.push_back(CsvNumber(result.seconds));
    fields.emplace_back(result.pareto ? "true" : "false");
    fields.push_back(result.error);
    text += Joined(fields);
  }
  return text;
}

}  // namespace ptq
