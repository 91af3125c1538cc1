// Turns quantization metadata into the sections of a report.
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "flow_reports.h"

#include "ptq/base/error.h"
#include "ptq/base/format.h"
#include "ptq/base/json.h"
#include "ptq/plan/linear_kind.h"
#include "ptq/report/report.h"
#include "ptq/report/table.h"
#include "ptq/tensor/shape.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

std::optional<double> NumberIn(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}
/// Of a linear's `quantized`; before 1.5 the metadata have it as a loss only.
std::optional<double> NearestLoss(const Json& quantized) {
  if (const auto stored = NumberIn(quantized, "relative_loss_rtn")) return stored;
  const auto relative = NumberIn(quantized, "relative_loss");
  const auto before = NumberIn(quantized, "loss_before"), after = NumberIn(quantized, "loss_after");
  if (!relative || !before || !after || !(*after > 0)) return std::nullopt;
  return *relative * *before / *after;
}

/// A row of `tensors` for a linear, a table or filters of a convolution.
Json TensorJson(const Json& subject, const char* what, const std::string& model) {
  const Json& quantized = subject.value("quantized", Json());
  const auto name = subject.at("name").get<std::string>();
  const auto member = [&](const char* key) {
    return quantized.is_object() ? quantized.value(key, Json()) : Json();
  };
  Json row = {
      {"name", name},
      {"model", model.empty() ? Json(nullptr) : Json(model)},
      {"what", what},
      {"kind", KindOfLinear(name).kind},
      {"layer", KindOfLinear(name).layer >= 0 ? Json(KindOfLinear(name).layer) : Json(nullptr)},
      {"n", subject.at("n")},
      {"k", subject.at("k")},
      {"decision", subject.at("decision")},
      {"reason", subject.at("reason")}};
  for (const char* key :
       {"form", "bits", "group_size", "symmetric", "scaling", "alpha", "fold", "relative_loss"}) {
    row[key] = member(key);
  }
  row["relative_loss_rtn"] = quantized.is_object() ? NumberOrNull(NearestLoss(quantized)) : Json();
  row["by_cause"] = member("loss_by_cause");
  row["tokens"] = member("calibration_tokens");
  row["bytes_before"] = subject.at("bytes_before");
  row["bytes_after"] = subject.at("bytes_after");
  return row;
}

struct Bytes {
  int64_t count = 0;
  int64_t before = 0;
  int64_t after = 0;
};

/// Collects the sections over the models of a result.
class Collector {
 public:
  /// `name`: of one of several models, else empty.
  void Add(const Json& metadata, const std::string& name) {
    for (const Json& linear : metadata.at("linears")) {
      tensors_.push_back(TensorJson(linear, "linear", name));
      Count(KindOfLinear(linear.at("name").get<std::string>()).kind, linear);
    }
    for (const Json& table : metadata.value("tables", Json::array())) {
      tensors_.push_back(TensorJson(table, "table", name));
      Count(table.at("name").get<std::string>(), table);
    }
    for (const Json& constant : metadata.value("constants", Json::array())) {
      const bool coded = constant.contains("quantized");
      if (coded) tensors_.push_back(TensorJson(constant, "convolution", name));
      Count(coded ? "convolutions" : "norms, biases and other constants", constant);
    }
    for (Json site : metadata.value("sites", Json::array())) {
      site["model"] = name.empty() ? Json(nullptr) : Json(name);
      sites_.push_back(std::move(site));
    }
    for (const Json& note : metadata.value("notes", Json::array())) notes_.push_back(note);
    const Json calibration = metadata.value("calibration", Json());
    if (calibration.is_object()) calibrations_.push_back(calibration);
    AddTotals(metadata);
  }

  [[nodiscard]] Json Finish(const Json& metadata) const {
    Json report = {{"recipe", metadata.at("recipe")}, {"tool", metadata.at("tool")}};
    report["summary"] = SummaryJson(metadata);
    if (!tensors_.empty()) report["tensors"] = tensors_;
    AddSites(report);
    if (Json depth = DepthJson(); !depth.empty()) report["depth"] = std::move(depth);
    report["sizes"] = SizesJson();
    if (!calibrations_.empty()) report["calibration"] = CalibrationJson();
    if (const Json gate = metadata.value("gate", Json()); gate.is_object()) {
      report["gate"] = GateMembers(gate);
    }
    return report;
  }

 private:
  void Count(const std::string& kind, const Json& subject) {
    const auto place = std::ranges::find(kinds_, kind, &std::pair<std::string, Bytes>::first);
    Bytes& bytes =
        place == kinds_.end() ? kinds_.emplace_back(kind, Bytes()).second : place->second;
    ++bytes.count;
    bytes.before += CountIn(subject, "bytes_before");
    bytes.after += CountIn(subject, "bytes_after");
  }

  void AddTotals(const Json& metadata) {
    const Json& totals = metadata.at("totals");
    for (const char* key : {"linears_quantized", "linears_fp16", "linears_kept"}) {
      counts_[key] += CountIn(totals, key);
    }
    for (const Json& linear : metadata.at("linears")) {
      if (!linear.at("quantized").is_object()) continue;
      coded_bytes_ += CountIn(linear, "bytes_after");
      coded_weights_ += NumElements(Shape{CountIn(linear, "n"), CountIn(linear, "k")});
    }
    const Json& source = metadata.at("source");
    sources_.push_back(source);
    before_ += CountIn(source, "bytes");
    for (const Json& file : source.at("data_files")) before_ += CountIn(file, "bytes");
    if (metadata.at("verification").is_object()) {
      const double error = NumberIn(metadata["verification"], "max_relative_error").value_or(0);
      verified_ = std::max(verified_.value_or(0), error);
    }
  }

  [[nodiscard]] Json SummaryJson(const Json& metadata) const {
    double loss = 0, nearest = 0;
    int64_t measured = 0;
    for (const Json& tensor : tensors_) {
      const auto own = NumberIn(tensor, "relative_loss");
      if (!own || tensor["what"] != "linear") continue;
      loss += *own;
      nearest += NumberIn(tensor, "relative_loss_rtn").value_or(*own);
      ++measured;
    }
    int64_t after = 0;
    for (const Json& file : metadata.value("files", Json::array())) {
      const auto name = file.at("file").get<std::string>();
      const bool of_model = name.find(".onnx") != std::string::npos;
      if (of_model) after += CountIn(file, "bytes");
    }
    Json json = {{"method", metadata.at("recipe").value("method", Json())},
                 {"bits", metadata.at("recipe").value("bits", Json())},
                 {"group_size", metadata.at("recipe").value("group_size", Json())},
                 {"sources", sources_},
                 {"bytes_before", before_},
                 {"bytes_after", after > 0 ? Json(after) : Json(nullptr)}};
    for (const auto& [key, count] : counts_) json[key] = count;
    json["bits_per_weight"] =
        coded_weights_ > 0 ? Json(8.0 * double(coded_bytes_) / double(coded_weights_)) : Json();
    json["relative_loss"] = measured > 0 ? Json(loss / double(measured)) : Json();
    json["relative_loss_rtn"] = measured > 0 ? Json(nearest / double(measured)) : Json();
    json["verification"] = NumberOrNull(verified_);
    json["notes"] = notes_;
    return json;
  }

  /// What was seen at each site, and what was tried there.
  void AddSites(Json& report) const {
    Json salience = Json::array(), alpha = Json::array();
    for (const Json& site : sites_) {
      Json named = {
          {"site", site.at("name")}, {"model", site.at("model")}, {"linears", site.at("linears")}};
      if (site.contains("salience") && site["salience"].is_object()) {
        Json seen = named;
        seen.update(site["salience"]);
        salience.push_back(std::move(seen));
      }
      if (site.contains("trials") && !site["trials"].empty()) {
        named["scaling"] = site.value("scaling", Json());
        named["alpha"] = site.value("alpha", Json());
        named["trials"] = site["trials"];
        alpha.push_back(std::move(named));
      }
    }
    if (!salience.empty()) report["salience"] = std::move(salience);
    if (!alpha.empty()) report["alpha"] = std::move(alpha);
  }

  /// For each kind the loss of each layer: of several linears there the largest.
  [[nodiscard]] Json DepthJson() const {
    std::vector<std::string> order;
    std::map<std::string, std::map<int, std::pair<double, double>>> kinds;
    for (const Json& tensor : tensors_) {
      const auto loss = NumberIn(tensor, "relative_loss");
      if (!loss || tensor["what"] != "linear" || tensor["layer"].is_null()) continue;
      std::string kind = tensor["kind"].get<std::string>();
      if (!tensor["model"].is_null()) kind = tensor["model"].get<std::string>() + ": " + kind;
      if (!kinds.contains(kind)) order.push_back(kind);
      auto& [own, nearest] = kinds[kind][tensor["layer"].get<int>()];
      own = std::max(own, *loss);
      nearest = std::max(nearest, NumberIn(tensor, "relative_loss_rtn").value_or(0));
    }
    Json json = Json::array();
    for (const std::string& kind : order) {
      Json points = Json::array();
      for (const auto& [layer, loss] : kinds[kind]) {
        points.push_back(
            {{"layer", layer}, {"relative_loss", loss.first}, {"relative_loss_rtn", loss.second}});
      }
      json.push_back({{"kind", kind}, {"points", std::move(points)}});
    }
    return json;
  }

  [[nodiscard]] Json SizesJson() const {
    Json json = Json::array();
    for (const auto& [kind, bytes] : kinds_) {
      json.push_back({{"kind", kind},
                      {"count", bytes.count},
                      {"before", bytes.before},
                      {"after", bytes.after}});
    }
    return json;
  }

  /// The samples of all models; lengths add up.
  [[nodiscard]] Json CalibrationJson() const {
    Json json = calibrations_.front();
    for (size_t i = 1; i < calibrations_.size(); ++i) {
      const Json& other = calibrations_[i];
      for (const char* key : {"samples", "tokens"}) {
        json[key] = json.value(key, int64_t(0)) + other.value(key, int64_t(0));
      }
      for (size_t bin = 0; bin < json.value("lengths", Json::array()).size(); ++bin) {
        const Json lengths = other.value("lengths", Json::array());
        if (bin >= lengths.size()) break;
        json["lengths"][bin]["count"] =
            json["lengths"][bin]["count"].get<int64_t>() + lengths[bin]["count"].get<int64_t>();
      }
    }
    return json;
  }

  Json tensors_ = Json::array(), sites_ = Json::array(), notes_ = Json::array();
  Json sources_ = Json::array();
  std::vector<Json> calibrations_;
  std::vector<std::pair<std::string, Bytes>> kinds_;  ///< in the order of the file
  std::map<std::string, int64_t> counts_;
  int64_t coded_bytes_ = 0, coded_weights_ = 0, before_ = 0;
  std::optional<double> verified_;
};

}  // namespace

std::string TitleOf(const std::filesystem::path& model) {
  const auto path = std::filesystem::absolute(model).lexically_normal();
  const auto name = path.filename().empty() ? path.parent_path().filename() : path.filename();
  return name.string();
}

Json ReportOf(const Json& metadata) {
  try {
    Collector collector;
    if (!metadata.contains("models")) {
      collector.Add(metadata, "");
    } else {
      for (const Json& model : metadata["models"]) {
        if (model.contains("linears")) collector.Add(model, model.at("file").get<std::string>());
      }
    }
    return collector.Finish(metadata);
  } catch (const nlohmann::json::exception& error) {
    throw InputError(std::string("not the metadata of a quantized model: ") + JsonReason(error));
  }
}

namespace {

Json Made(const RunReport& report) {
  Json json = ReportOf(ReadMetadata(report.destination));
  json["title"] = TitleOf(report.destination);
  Json& summary = json["summary"];
  summary["bytes_before"] = report.bytes_before;
  summary["bytes_after"] = report.bytes_after;
  summary["warnings"] = report.warnings;
  if (report.up_to_date) return json;
  summary["seconds"] = report.timings.total;
  summary["peak_bytes"] = report.peak_bytes;
  return json;
}

Json Made(const DirectoryReport& report) {
  Json json = ReportOf(report.metadata);
  json["title"] = TitleOf(report.destination);
  Json& summary = json["summary"];
  if (report.bytes_before > 0) summary["bytes_before"] = report.bytes_before;
  summary["bytes_after"] = report.bytes_after;
  if (report.up_to_date) return json;
  summary["seconds"] = report.seconds;
  summary["peak_bytes"] = report.peak_bytes;
  return json;
}

}  // namespace

Json ReportOf(const MadeResult& made) {
  return std::visit([](const auto& report) { return Made(report); }, made);
}

Json ReportOf(const GateFailed& failed, const std::filesystem::path& destination) {
  Json metadata = failed.metadata();
  metadata["gate"] = ToJson(failed.report());
  Json json = ReportOf(metadata);
  json["title"] = TitleOf(destination);
  json["summary"]["warnings"] = Json::array({failed.what()});
  return json;
}

Json ReportOf(const BatchReport& report) {
  Json jobs = Json::array();
  for (const JobResult& result : report.results) {
    const bool worked = result.state == JobState::kDone;
    jobs.push_back({{"name", result.job.id},
                    {"status", JobStateName(result.state)},
                    {"seconds", worked ? Json(result.seconds) : Json(nullptr)},
                    {"bytes_before", result.bytes_before > 0 ? Json(result.bytes_before) : Json()},
                    {"bytes_after", result.bytes_after > 0 ? Json(result.bytes_after) : Json()},
                    {"note", result.message}});
  }
  return {{"title", TitleOf(report.directory)}, {"heading", "Batch report"}, {"jobs", jobs}};
}

}  // namespace ptq
