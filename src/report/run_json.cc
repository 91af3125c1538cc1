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
    const Outcome& outcome = report.outcomes[i];
    const bool known = done && report.plan.linears[i].decision.quantizes();
    linears[i]["scaling"] = known ? Json(outcome.scaling) : Json(nullptr);
    linears[i]["relative_loss"] = known ? Ratio(outcome.loss_after, outcome.energy) : Json(nullptr);
    linears[i]["relative_loss_rtn"] =
        known ? Ratio(outcome.loss_before, outcome.energy) : Json(nullptr);
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
  for (const Outcome& outcome : report.outcomes) {
    before += outcome.bytes_before;
    after += outcome.bytes_after;
  }
  totals["bytes_before"] = before;
  totals["bytes_after"] = after;
  return totals;
}

/// A member of a model's metadata; null where there is none: of a model that was only copied, or by
/// an older version.
Json Member(const Json& model, const char* key) {
  return model.contains(key) ? model.at(key) : Json(nullptr);
}

/// The totals of a model's metadata, with the keys of TotalsJson. How many linears were rounded
/// unseen it does not tell.
Json WrittenTotals(const Json& model) {
  const Json written = Member(model, "totals");
  if (written.is_null()) return nullptr;
  Json totals;
  for (const char* name : {"linears_quantized", "linears_fp16", "linears_kept"}) {
    totals[name] = written.at(name);
  }
  totals["linears_scaled"] = std::ranges::count_if(model.at("linears"), [](const Json& linear) {
    const Json& quantized = linear.at("quantized");
    return quantized.is_object() && quantized.at("scaling") != "none";
  });
  totals["linears_rounded_unseen"] = nullptr;
  for (const char* name : {"bytes_before", "bytes_after"}) totals[name] = written.at(name);
  return totals;
}

/// What a model's metadata says of its verification, with the keys of SummaryJson.
Json WrittenVerification(const Json& model) {
  const Json written = Member(model, "verification");
  const bool done = written.is_object();
  return {{"done", done},
          {"max_relative", done ? written.at("max_relative_error") : Json(nullptr)},
          {"tolerance", done ? written.at("tolerance") : Json(nullptr)},
          {"note", nullptr}};
}

/// A linear of the metadata, with the keys of LinearsJson.
Json LinearJson(const Json& linear) {
  Json entry;
  for (const char* key : {"name", "node", "n", "k", "decision", "reason"}) {
    entry[key] = linear.contains(key) ? linear[key] : Json(nullptr);
  }
  const Json& quantized = linear.at("quantized");
  if (quantized.is_object()) {
    for (const char* key : {"form", "bits", "stored_bits", "group_size", "symmetric"}) {
      entry[key] = quantized.contains(key) ? quantized.at(key) : Json(nullptr);
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
  const Json plan = PlanJson(report);
  for (const char* key : {"tables", "constants"}) json[key] = plan.at(key);
  json["islands"] = report.islands;
  if (report.gate.has_value()) json["gate"] = ToJson(*report.gate);
  if (plan.contains("caches")) json["caches"] = plan.at("caches");
  json["bytes_before"] = report.bytes_before > 0 ? Json(report.bytes_before) : Json(nullptr);
  if (worked) return json;
  for (const char* key : {"bytes_after", "calibration", "relative_loss", "relative_loss_rtn",
                          "seconds", "ranks", "peak_resident_bytes", "verification", "next"}) {
    Forget(json[key]);
  }
  if (!report.up_to_date) return json;
  json["bytes_after"] = report.bytes_after;
  if (!done) return json;
  // Nothing was predicted, and what the files hold was not looked at.
  for (const char* key : {"bytes", "predicted", "predicted_peak_bytes"}) json[key] = nullptr;
  return json;
}

Json DirectoryPlanJson(const std::vector<std::pair<std::string, RunReport>>& plans) {
  Json json = DirectoryJson(plans.empty() ? "" : plans.front().second.destination.string());
  int64_t peak = 0;
  for (const auto& [file, report] : plans) {
    const Json own = RunJson(report, /*done=*/false);
    Json entry = {{"file", file}, {"source", nullptr}};
    for (const char* key :
         {"totals", "bytes", "predicted", "linears", "tables", "constants", "islands",
          "calibration", "verification", "notes", "predicted_peak_bytes", "destination"}) {
      entry[key] = own.at(key);
    }
    if (!own.value("caches", Json::array()).empty()) entry["caches"] = own.at("caches");
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
  if (!report.up_to_date) {
    json["seconds"]["total"] = report.seconds;
    json["peak_resident_bytes"] = report.peak_bytes;
    json["predicted_peak_bytes"] = report.predicted_peak_bytes;
  }
  json["next"] = NextStepsJson(report.destination);
  if (report.metadata.contains("gate")) json["gate"] = report.metadata.at("gate");
  size_t index = 0;
  for (const Json& model : report.metadata.at("models")) {
    Json entry = {{"file", model.at("file")}, {"source", Member(model, "source")}};
    entry["totals"] = WrittenTotals(model);
    entry["bytes"] = index < report.bytes.size() ? BytesJson(report.bytes[index]) : Json(nullptr);
    ++index;
    entry["predicted"] = nullptr;
    entry["linears"] = Json::array();
    for (const Json& linear : model.value("linears", Json::array())) {
      entry["linears"].push_back(LinearJson(linear));
    }
    for (const char* key : {"tables", "constants"}) entry[key] = model.value(key, Json::array());
    entry["islands"] = model.value("islands", Json::object());
    if (!model.value("caches", Json::array()).empty()) entry["caches"] = model.at("caches");
    entry["calibration"] = Member(model, "calibration");
    entry["verification"] = WrittenVerification(model);
    entry["notes"] = model.at("notes");
    entry["predicted_peak_bytes"] = nullptr;
    entry["destination"] = report.destination.string();
    json["models"].push_back(std::move(entry));
  }
  return json;
}

}  // namespace ptq
