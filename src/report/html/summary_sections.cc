// The sections that sum up: figures of a result, its gate, its evaluation, how it was made.
#include <algorithm>
#include <string>
#include <utility>

#include "charts.h"
#include "sections.h"

#include "ptq/base/format.h"
#include "ptq/base/json.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

Json SummaryFigure(const std::string& label, const std::string& value,
                   const std::string& detail = "") {
  return {{"label", label}, {"value", value}, {"detail", detail}};
}

Json Fact(const std::string& label, const std::string& value) {
  return {{"label", label}, {"value", value}};
}

bool IsNumberIn(const Json& json, const char* key) {
  return json.contains(key) && json.at(key).is_number();
}

void AddSize(const Json& summary, Json& figures) {
  if (!IsNumberIn(summary, "bytes_after")) return;
  const auto after = summary["bytes_after"].get<int64_t>();
  std::string detail;
  if (IsNumberIn(summary, "bytes_before") && summary["bytes_before"].get<int64_t>() > 0) {
    const auto before = summary["bytes_before"].get<int64_t>();
    detail = "from " + FormatBytes(before) + ", " + FormatPercent(double(after) / double(before));
  }
  figures.push_back(SummaryFigure("Model size", FormatBytes(after), detail));
}

void AddLosses(const Json& summary, Json& figures) {
  if (!IsNumberIn(summary, "relative_loss")) return;
  figures.push_back(SummaryFigure(
      "Output error", FormatPercent(summary["relative_loss"].get<double>()),
      "mean of the linears; " + FormatPercent(summary["relative_loss_rtn"].get<double>()) +
          " by rounding to nearest"));
}

Json FiguresOf(const Json& summary) {
  Json figures = Json::array();
  AddSize(summary, figures);
  if (IsNumberIn(summary, "bits_per_weight")) {
    figures.push_back(SummaryFigure("Bits per weight",
                                    FormatNumber(summary["bits_per_weight"].get<double>(), 3),
                                    "of the quantized linears, scales included"));
  }
  AddLosses(summary, figures);
  if (IsNumberIn(summary, "linears_quantized")) {
    figures.push_back(SummaryFigure(
        "Linears quantized", std::to_string(summary["linears_quantized"].get<int64_t>()),
        std::to_string(summary["linears_fp16"].get<int64_t>()) + " fp16, " +
            std::to_string(summary["linears_kept"].get<int64_t>()) + " kept"));
  }
  if (IsNumberIn(summary, "seconds")) {
    figures.push_back(
        SummaryFigure("Time", FormatSeconds(summary["seconds"].get<double>()),
                      IsNumberIn(summary, "peak_bytes")
                          ? "peak memory " + FormatBytes(summary["peak_bytes"].get<int64_t>())
                          : ""));
  }
  if (summary.contains("verification")) {
    const bool done = summary["verification"].is_number();
    figures.push_back(SummaryFigure(
        "Verified", done ? "yes" : "no",
        done ? "outputs within " + FormatNumber(summary["verification"].get<double>(), 2) +
                   " of the expected ones"
             : "the written model was not run"));
  }
  return figures;
}

Json SummaryFacts(const Json& document) {
  Json facts = Json::array();
  const Json& summary = document["summary"];
  for (const Json& source : summary.value("sources", Json::array())) {
    facts.push_back(Fact("Source", source.at("file").get<std::string>()));
    facts.push_back(Fact("SHA-256", source.at("sha256").get<std::string>()));
  }
  if (summary.contains("method") && summary["method"].is_string()) {
    facts.push_back(Fact("Method", summary["method"].get<std::string>()));
  }
  if (document.contains("recipe") && document["recipe"].contains("format")) {
    const Json& recipe = document["recipe"];
    facts.push_back(Fact("Asked for", CellText(recipe.value("bits", Json())) + " bits, groups of " +
                                          CellText(recipe.value("group_size", Json())) + ", " +
                                          CellText(recipe["format"])));
  }
  if (document.contains("tool")) {
    facts.push_back(Fact("Made by", CellText(document["tool"].at("name")) + " " +
                                        CellText(document["tool"].at("version"))));
  }
  return facts;
}

Json Lines(const char* kind, const std::string& title, const Json& lines) {
  return {{"type", "list"}, {"kind", kind}, {"title", title}, {"lines", lines}};
}

}  // namespace

Json SummarySection(const Json& document) {
  if (!document.contains("summary")) return nullptr;
  const Json& summary = document["summary"];
  Json blocks = Json::array();
  if (Json figures = FiguresOf(summary); !figures.empty()) {
    blocks.push_back({{"type", "figures"}, {"figures", std::move(figures)}});
  }
  const Json warnings = summary.value("warnings", Json::array());
  if (!warnings.empty()) blocks.push_back(Lines("warning", "Warnings", warnings));
  Json notes = Json::array();
  for (const Json& note : summary.value("notes", Json::array())) {
    if (std::ranges::find(warnings, note) == warnings.end()) notes.push_back(note);
  }
  if (!notes.empty()) blocks.push_back(Lines("note", "Notes", notes));
  if (Json facts = SummaryFacts(document); !facts.empty()) {
    blocks.push_back({{"type", "facts"}, {"facts", std::move(facts)}});
  }
  return SectionJson("summary", "Summary", "", std::move(blocks));
}

Json GateSection(const Json& document) {
  if (!document.contains("gate")) return nullptr;
  const Json& gate = document["gate"];
  const bool passed = gate.at("passed").get<bool>();
  Json checks =
      TableBlock("gate-checks", "What was asked for, and what was measured",
                 {{"Figure"}, {"Limit"}, {"Measured", true}, {"Source", true}, {"Result"}});
  for (const Json& check : gate.at("checks")) {
    const bool kept = check.at("passed").get<bool>();
    checks["rows"].push_back(
        {CellText(check.at("metric")), CellText(check.at("limit")), PlainCell(check.at("value")),
         PlainCell(check.value("reference", Json())),
         Json{{"text", kept ? "passed" : "failed"}, {"class", kept ? "good" : "bad"}}});
  }
  Json blocks = Json::array();
  blocks.push_back({{"type", "verdict"},
                    {"good", passed},
                    {"text", passed ? "The gate is passed." : "The gate is not passed."}});
  blocks.push_back(std::move(checks));
  const Json fallbacks = gate.value("fallbacks", Json::array());
  if (!fallbacks.empty()) {
    Json table = TableBlock("gate-fallbacks", "Tensors that fell back to more bits",
                            {{"Tensor"},
                             {"Becomes", false, true},
                             {"Error before", true, false, "With the form that was asked for"},
                             {"More bytes", true}});
    for (const Json& one : fallbacks) {
      table["rows"].push_back({CellText(one.at("tensor")), CellText(one.at("to")),
                               PercentCell(one.value("relative_loss", Json())),
                               BytesCell(one.value("bytes", Json()))});
    }
    blocks.push_back(std::move(table));
  }
  return SectionJson("gate", "Gate", gate.value("text", ""), std::move(blocks));
}

Json EvaluationSection(const Json& document) {
  if (!document.contains("evaluation")) return nullptr;
  const Json& evaluation = document["evaluation"];
  Json table = TableBlock("evaluation-figures", "What was measured",
                          {{"Figure"}, {"Value", true}, {"Unit"}});
  for (const auto& [name, unit] : evaluation.at("units").items()) {
    table["rows"].push_back({name, PlainCell(evaluation.at(name)), CellText(unit)});
  }
  Json facts = Json::array();
  for (const char* key : {"task", "texts", "pairs", "tokens", "output", "pooling", "reference"}) {
    const Json value = evaluation.value(key, Json());
    if (!value.is_null()) facts.push_back(Fact(key, CellText(value)));
  }
  return SectionJson("evaluation", "Evaluation", "",
                     Json::array({Json{{"type", "facts"}, {"facts", std::move(facts)}}, table}));
}

Json RecipeSection(const Json& document) {
  if (!document.contains("recipe")) return nullptr;
  return SectionJson(
      "recipe", "Recipe",
      "The request after defaults and configuration files were merged. Given as "
      "--config, it makes the same again.",
      Json::array({Json{{"type", "code"}, {"text", DumpJson(document["recipe"], 2)}}}));
}

}  // namespace ptq
