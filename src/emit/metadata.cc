// Describes source and linears, sums them up, and writes quantization_metadata.json.
#include "ptq/emit/metadata.h"

#include <algorithm>
#include <cmath>
#include <system_error>
#include <utility>
#include <vector>

#include "metadata_details.h"

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/hash.h"
#include "ptq/base/json.h"
#include "ptq/emit/stored_codes.h"
#include "ptq/emit/written_files.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

/// Adding 0.0 to a negative zero gives zero: "-0.0" would look like an error in the file.
Json Ratio(double part, double whole) {
  return whole > 0 ? NumberOrNull(part / whole + 0.0) : Json(nullptr);
}

Json QuantizedJson(const LinearMetadata& linear) {
  Json json = {{"form", linear.decision.form->name()},
               {"bits", linear.decision.spec().bits},
               {"stored_bits", StoredBits(linear.decision.spec().bits)},
               {"group_size", linear.decision.spec().group_size},
               {"symmetric", linear.decision.spec().symmetric},
               {"activations", ActivationsName(linear.decision.activations(),
                                               linear.decision.parameters.activation_bits)}};
  const bool leveled = linear.outcome.activation_scale.has_value();
  json["activation_scale"] = leveled ? Json(*linear.outcome.activation_scale) : Json(nullptr);
  json["activation_zero_point"] =
      leveled ? Json(linear.outcome.activation_zero_point) : Json(nullptr);
  const int64_t level = linear.outcome.accuracy_level;
  json["accuracy_level"] = level >= 0 ? Json(level) : Json(nullptr);
  const std::optional<double> rounding = linear.outcome.RelativeActivationLoss();
  json["relative_activation_loss"] = rounding.has_value() ? NumberOrNull(*rounding) : Json(nullptr);
  json.update(ShownFields(linear.outcome));
  const std::optional<double> nearest = linear.outcome.RelativeLossBefore();
  json["relative_loss_rtn"] = nearest.has_value() ? NumberOrNull(*nearest) : Json(nullptr);
  json["loss_by_cause"] = LossByCause(linear);
  return json;
}

Json LinearJson(const LinearMetadata& linear, Json standing) {
  Json quantized = nullptr;
  if (linear.decision.quantizes()) {
    quantized = QuantizedJson(linear);
    quantized["standing"] = std::move(standing);
  }
  return Json{{"name", linear.name},
              {"node", linear.node},
              {"op_type", linear.op_type},
              {"site", linear.site},
              {"n", linear.n},
              {"k", linear.k},
              {"decision", DecisionName(linear.decision)},
              {"reason", linear.decision.reason},
              {"bytes_before", linear.outcome.bytes_before},
              {"bytes_after", linear.outcome.bytes_after},
              {"quantized", std::move(quantized)}};
}

Json TotalsJson(const Metadata& metadata) {
  int64_t before = 0, after = 0, weights = 0, quantized_bytes = 0, quantized_weights = 0;
  int64_t quantized = 0, half = 0, kept = 0;
  for (const LinearMetadata& linear : metadata.linears) {
    before += linear.outcome.bytes_before;
    after += linear.outcome.bytes_after;
    weights += linear.n * linear.k;
    switch (linear.decision.form->storage()) {
      case Storage::kCodes:
        ++quantized;
        quantized_bytes += linear.outcome.bytes_after;
        quantized_weights += linear.n * linear.k;
        break;
      case Storage::kHalf: ++half; break;
      case Storage::kAsIs: ++kept; break;
    }
  }
  return Json{{"linears_quantized", quantized},
              {"linears_fp16", half},
              {"linears_kept", kept},
              {"weights", weights},
              {"weights_quantized", quantized_weights},
              {"bytes_before", before},
              {"bytes_after", after},
              {"bits_per_quantized_weight", Ratio(8.0 * static_cast<double>(quantized_bytes),
                                                  static_cast<double>(quantized_weights))}};
}

Json VerificationJson(const std::optional<VerificationMetadata>& verification) {
  if (!verification.has_value()) return nullptr;
  return Json{{"max_relative_error", NumberOrNull(verification->max_relative_error)},
              {"tolerance", NumberOrNull(verification->tolerance)}};
}

}  // namespace

SourceDescription DescribeSource(const Model& model) {
  SourceDescription source;
  source.file = model.path().filename().string();
  source.sha256 = Sha256OfFile(model.path());
  std::error_code error;
  source.bytes = static_cast<int64_t>(std::filesystem::file_size(model.path(), error));
  for (const std::string& name : model.ExternalFiles()) {
    const auto size = std::filesystem::file_size(model.DataFile(name), error);
    source.data_files.push_back({name, error ? 0 : static_cast<int64_t>(size), ""});
  }
  for (const auto& import : model.proto().opset_import()) {
    source.opsets[import.domain()] = import.version();
  }
  source.ir_version = model.proto().ir_version();
  return source;
}

void SourceDescription::Enter(const std::vector<std::string>& hashes) {
  for (size_t i = 0; i < data_files.size(); ++i) data_files[i].sha256 = hashes.at(i);
}

std::vector<std::filesystem::path> DataFilesOf(const Model& model) {
  std::vector<std::filesystem::path> paths;
  for (const std::string& name : model.ExternalFiles()) paths.push_back(model.DataFile(name));
  return paths;
}

Json ToolJson() {
  Json tool = {{"name", "quantize"}, {"version", PTQ_VERSION}, {"sha256", nullptr}};
  try {
    tool["sha256"] = Sha256OfFile("/proc/self/exe");
  } catch (const InputError&) {
    // A root without /proc: which build it was stays open.
  }
  return tool;
}

Json ToJson(const SourceDescription& source) {
  Json opsets = Json::object();
  for (const auto& [domain, version] : source.opsets) {
    opsets[domain.empty() ? "ai.onnx" : domain] = version;
  }
  return Json{{"file", source.file},
              {"sha256", source.sha256},
              {"bytes", source.bytes},
              {"data_files", ToJson(source.data_files)},
              {"ir_version", source.ir_version},
              {"opsets", opsets}};
}

LinearMetadata DescribeLinear(const Graph& graph, const Linear& linear, const Outcome& outcome) {
  LinearMetadata entry;
  const Node& node = graph.nodes()[static_cast<size_t>(linear.node)];
  entry.name = linear.name;
  entry.node = node.name();
  entry.op_type = node.op_type();
  if (linear.site != kNoValue) entry.site = graph.value(linear.site).name;
  entry.n = linear.n;
  entry.k = linear.k;
  entry.decision = linear.decision;
  if (!outcome.note.empty()) entry.decision.reason = outcome.note;
  entry.outcome = outcome;
  return entry;
}

Json SubjectJson(const Subject& subject, const Outcome& outcome) {
  Json json = {{"name", subject.name},
               {"n", subject.n},
               {"k", subject.k},
               {"type", DTypeName(subject.stored_type)},
               {"decision", DecisionName(subject.decision)},
               {"reason", subject.decision.reason},
               {"bytes_before", BytesOf(subject.stored_type, subject.n * subject.k)},
               {"bytes_after", subject.decision.bytes}};
  if (!subject.decision.quantizes()) return json;
  const QuantSpec& spec = subject.spec();
  json["quantized"] = Json{{"form", subject.decision.form->name()},
                           {"bits", spec.bits},
                           {"stored_bits", StoredBits(spec.bits)},
                           {"group_size", spec.group_size},
                           {"symmetric", spec.symmetric},
                           {"relative_loss", Ratio(outcome.loss_after, outcome.energy)},
                           {"relative_loss_rtn", Ratio(outcome.loss_before, outcome.energy)}};
  return json;
}

Json ToJson(const QuantizedCaches& caches) {
  Json json = Json::array();
  for (const Cache& cache : caches.caches) {
    const auto extremes = std::minmax_element(cache.scales.begin(), cache.scales.end());
    const bool known = !cache.scales.empty();
    json.push_back(Json{{"name", cache.name},
                        {"form", CodesName(caches.codes)},
                        {"bits", caches.codes.bits},
                        {"heads", cache.heads},
                        {"head_size", cache.head_size},
                        {"scales", caches.codes.per_channel ? cache.heads * cache.head_size : 1},
                        {"least_scale", known ? Json(*extremes.first) : Json(nullptr)},
                        {"largest_scale", known ? Json(*extremes.second) : Json(nullptr)}});
  }
  return json;
}

Json ToJson(const std::vector<LeftOut>& left_out) {
  Json files = Json::array();
  for (const LeftOut& left : left_out)
    files.push_back(Json{{"file", left.file}, {"why", left.why}});
  return files;
}

Json ToJson(const Metadata& metadata) {
  Json linears = Json::array();
  std::vector<Json> standings = Standings(metadata.linears);
  for (size_t i = 0; i < standings.size(); ++i) {
    linears.push_back(LinearJson(metadata.linears[i], std::move(standings[i])));
  }
  Json tables = Json::array(), constants = Json::array();
  for (const auto& [table, outcome] : metadata.tables) {
    tables.push_back(SubjectJson(table, outcome));
  }
  for (const auto& [constant, outcome] : metadata.constants) {
    constants.push_back(SubjectJson(constant, outcome));
  }
  Json json{{"schema_version", kMetadataSchemaVersion},
            {"tool", ToolJson()},
            {"recipe", metadata.recipe.is_null() ? Json::object() : metadata.recipe},
            {"source", ToJson(metadata.source)},
            {"calibration", metadata.calibration},
            {"totals", TotalsJson(metadata)},
            {"linears", linears},
            {"sites", SitesJson(metadata.linears)},
            {"tables", tables},
            {"constants", constants},
            {"islands", metadata.islands},
            {"caches", metadata.caches.has_value() ? ToJson(*metadata.caches) : Json::array()},
            {"cache_samples", metadata.cache_samples},
            {"sidecars", metadata.sidecars.copied},
            {"left_out", ToJson(metadata.sidecars.left_out)},
            {"files", ToJson(metadata.files)},
            {"notes", metadata.notes},
            {"verification", VerificationJson(metadata.verification)}};
  if (metadata.gate.has_value()) json["gate"] = ToJson(*metadata.gate);
  if (!metadata.model_card.empty()) json["model_card"] = metadata.model_card;
  return json;
}

void WriteMetadata(const Metadata& metadata, const std::filesystem::path& directory) {
  WriteFile(directory / kMetadataFileName, DumpForPeople(ToJson(metadata)) + "\n");
}

std::vector<std::pair<std::string, std::string>> MetadataProps(const Metadata& metadata) {
  const Json totals = TotalsJson(metadata);
  return {{"quantization.tool", std::string("quantize ") + PTQ_VERSION},
          {"quantization.schema_version", kMetadataSchemaVersion},
          {"quantization.recipe", DumpJson(metadata.recipe)},
          {"quantization.source_sha256", metadata.source.sha256},
          {"quantization.totals", DumpJson(totals)}};
}

}  // namespace ptq
