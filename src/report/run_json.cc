// Brings plans, results and metadata of models into the one shape that scripts read.
#include "ptq/report/run_json.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "ptq/report/bytes_report.h"
#include "ptq/report/next_steps.h"
#include "ptq/report/run_report.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

/// Every value in it null; keys stay.
void Forget(Json& json) {
  if (!json.is_object()) {
    json = nullptr;
    return;
  }
  for (auto& [key, value] : json.items()) Forget(value);
}

Json Ratio(double part, double whole) {
  return whole > 0 && std::isfinite(part / whole) ? Json(part / whole) : Json(nullptr);
}

/// The linears of the plan, and what a run has found out about each.
Json LinearsJson(const RunReport& report, bool done) {
  Json linears = PlanJson(report)["linears"];
  for (size_t i = 0; i < linears.size(); ++i) {
    const LinearOutcome& outcome = report.outcomes[i];
    const bool known = done && report.plan.linears[i].decision == Decision::kQuantize;
    linears[i]["scaling"] = known ? Json(outcome.scaling) : Json(nullptr);
    linears[i]["relative_loss"] = known ? Ratio(outcome.loss, outcome.energy) : Json(nullptr);
    linears[i]["relative_loss_rtn"] =
        known ? Ratio(outcome.loss_rtn, outcome.energy) : Json(nullptr);
  }
  return linears;
}

/// With the names that the metadata has for them.
Json TotalsJson(const RunReport& report, const Json& counts, bool done) {
  Json totals;
  for (const char* name : {"quantized", "fp16", "kept"}) {
    totals[std::string("linears_") + name] = counts.at(name);
  }
  for (const char* name : {"scaled", "rounded_unseen"}) {
    totals[std::string("linears_") + name] = done ? counts.at(name) : Json(nullptr);
  }
  int64_t before = 0, after = 0;
  for (const LinearOutcome& outcome : report.outcomes) {
    before += outcome.bytes_before;
    after += outcome.bytes_after;
  }
  totals["bytes_before"] = before;
  totals["bytes_after"] = after;
  return totals;
}

/// A linear of the metadata, with the keys of LinearsJson.
Json LinearJson(const Json& linear) {
  Json entry;
  for (const char* key : {"name", "node", "n", "k", "decision", "reason"}) {
    entry[key] = linear.contains(key) ? linear[key] : Json(nullptr);
  }
  const Json& quantized = linear.at("quantized");
  if (quantized.is_object()) {
    for (const char* key : {"bits", "stored_bits", "group_size", "symmetric"}) {
      entry[key] = quantized.at(key);
    }
  }
  entry["bytes_before"] = linear.at("bytes_before");
  entry["bytes_after"] = linear.at("bytes_after");
  for (const char* key : {"scaling", "relative_loss"}) {
    entry[key] = quantized.is_object() ? quantized.at(key) : Json(nullptr);
  }
  entry["relative_loss_rtn"] = nullptr;
  return entry;
}

Json DirectoryJson(const std::string& destination) {
  return {{"destination", destination},      {"up_to_date", false},
          {"bytes_before", nullptr},         {"bytes_after", nullptr},
          {"seconds", {{"total", nullptr}}}, {"peak_resident_bytes", nullptr},
          {"predicted_peak_bytes", nullptr}, {"next", nullptr},
          {"models", Json::array()}};
}

}  // namespace

Json RunJson(const RunReport& report, bool done) {
  Json json = SummaryJson(report);
  json["totals"] = TotalsJson(report, json["linears"], done && !report.up_to_date);
  const bool worked = done && !report.up_to_date;
  json["linears"] = LinearsJson(report, worked);
  json["bytes_before"] = report.bytes_before > 0 ? Json(report.bytes_before) : Json(nullptr);
  if (worked) return json;
  for (const char* key : {"bytes_after", "calibration", "relative_loss", "relative_loss_rtn",
                          "seconds", "ranks", "peak_resident_bytes", "verification", "next"}) {
    Forget(json[key]);
  }
  if (report.up_to_date) json["bytes_after"] = report.bytes_after;
  return json;
}

Json DirectoryPlanJson(const std::vector<std::pair<std::string, RunReport>>& plans) {
  Json json = DirectoryJson(plans.empty() ? "" : plans.front().second.destination.string());
  int64_t peak = 0;
  for (const auto& [file, report] : plans) {
    const Json own = RunJson(report, /*done=*/false);
    Json entry = {{"file", file}};
    for (const char* key : {"totals", "bytes", "linears", "calibration", "verification", "notes",
                            "predicted_peak_bytes", "destination"}) {
      entry[key] = own.at(key);
    }
    peak = std::max(peak, report.predicted_peak_bytes);
    json["models"].push_back(std::move(entry));
  }
  json["predicted_peak_bytes"] = peak;
  return json;
}

Json DirectoryRunJson(const DirectoryReport& report) {
  Json json = DirectoryJson(report.destination.string());
  json["up_to_date"] = report.up_to_date;
  json["bytes_before"] = report.bytes_before;
  json["bytes_after"] = report.bytes_after;
  json["seconds"]["total"] = report.seconds;
  json["peak_resident_bytes"] = report.peak_bytes;
  json["predicted_peak_bytes"] = report.predicted_peak_bytes;
  json["next"] = NextStepsJson(report.destination);
  size_t index = 0;
  for (const Json& model : report.metadata.at("models")) {
    Json entry = {{"file", model.at("file")}};
    if (index < report.bytes.size()) entry["bytes"] = BytesJson(report.bytes[index]);
    ++index;
    for (const char* key : {"source", "totals", "calibration", "verification", "notes"}) {
      entry[key] = model.contains(key) ? model[key] : Json(nullptr);
    }
    entry["linears"] = Json::array();
    for (const Json& linear : model.value("linears", Json::array())) {
      entry["linears"].push_back(LinearJson(linear));
    }
    entry["predicted_peak_bytes"] = nullptr;
    entry["destination"] = report.destination.string();
    json["models"].push_back(std::move(entry));
  }
  return json;
}

}  // namespace ptq
