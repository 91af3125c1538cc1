// Describes source and linears, sums them up, and writes quantization_metadata.json.
#include "ptq/emit/metadata.h"

#include <cmath>
#include <system_error>

#include "ptq/base/file.h"
#include "ptq/base/hash.h"
#include "ptq/emit/stored_codes.h"
#include "ptq/emit/written_files.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

/// Adding 0.0 to a negative zero gives zero: "-0.0" would look like an error in the file.
Json Ratio(double part, double whole) {
  return whole > 0 ? Number(part / whole + 0.0) : Json(nullptr);
}

Json QuantizedJson(const LinearMetadata::Quantized& quantized) {
  const bool scaled = quantized.scaling != "none";
  return Json{{"bits", quantized.spec.bits},
              {"stored_bits", StoredBits(quantized.spec.bits)},
              {"group_size", quantized.spec.group_size},
              {"symmetric", quantized.spec.symmetric},
              {"scaling", quantized.scaling},
              {"alpha", scaled ? Number(quantized.alpha) : Json(nullptr)},
              {"fold", quantized.fold},
              {"bias_corrected", quantized.bias_corrected},
              {"loss_before", Number(quantized.loss_before)},
              {"loss_after", Number(quantized.loss_after)},
              {"relative_loss", Ratio(quantized.loss_after, quantized.energy)},
              {"calibration_tokens", quantized.calibration_tokens}};
}

Json LinearJson(const LinearMetadata& linear) {
  return Json{{"name", linear.name},
              {"node", linear.node},
              {"op_type", linear.op_type},
              {"site", linear.site},
              {"n", linear.n},
              {"k", linear.k},
              {"decision", DecisionName(linear.decision)},
              {"reason", linear.reason},
              {"bytes_before", linear.bytes_before},
              {"bytes_after", linear.bytes_after},
              {"quantized", linear.quantized ? QuantizedJson(*linear.quantized) : Json(nullptr)}};
}

Json TotalsJson(const Metadata& metadata) {
  int64_t before = 0, after = 0, weights = 0, quantized_bytes = 0, quantized_weights = 0;
  int64_t quantized = 0, half = 0, kept = 0;
  for (const LinearMetadata& linear : metadata.linears) {
    before += linear.bytes_before;
    after += linear.bytes_after;
    weights += linear.n * linear.k;
    switch (linear.decision) {
      case Decision::kQuantize:
        ++quantized;
        quantized_bytes += linear.bytes_after;
        quantized_weights += linear.n * linear.k;
        break;
      case Decision::kHalf: ++half; break;
      case Decision::kKeep: ++kept; break;
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
  return Json{{"max_relative_error", Number(verification->max_relative_error)},
              {"tolerance", Number(verification->tolerance)}};
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
    source.data_files.emplace_back(name, error ? 0 : static_cast<int64_t>(size));
  }
  for (const auto& import : model.proto().opset_import()) {
    source.opsets[import.domain()] = import.version();
  }
  source.ir_version = model.proto().ir_version();
  return source;
}

Json ToJson(const SourceDescription& source) {
  Json opsets = Json::object();
  for (const auto& [domain, version] : source.opsets) {
    opsets[domain.empty() ? "ai.onnx" : domain] = version;
  }
  Json files = Json::array();
  for (const auto& [name, bytes] : source.data_files) {
    files.push_back(Json{{"file", name}, {"bytes", bytes}});
  }
  return Json{{"file", source.file}, {"sha256", source.sha256},         {"bytes", source.bytes},
              {"data_files", files}, {"ir_version", source.ir_version}, {"opsets", opsets}};
}

LinearMetadata DescribeLinear(const Graph& graph, const Linear& linear) {
  LinearMetadata entry;
  const Node& node = graph.nodes()[static_cast<size_t>(linear.node)];
  entry.name = linear.name;
  entry.node = node.name();
  entry.op_type = node.op_type();
  if (linear.site != kNoValue) entry.site = graph.value(linear.site).name;
  entry.n = linear.n;
  entry.k = linear.k;
  entry.decision = linear.decision;
  entry.reason = linear.reason;
  entry.bytes_before = BytesOf(linear.stored_type, linear.n * linear.k);
  entry.bytes_after = entry.bytes_before;
  return entry;
}

std::string FoldName(Fold::Kind kind) {
  switch (kind) {
    case Fold::Kind::kMul: return "mul";
    case Fold::Kind::kGain: return "gain";
    case Fold::Kind::kLinearRows: return "rows";
  }
  return "";
}

Json ToJson(const std::vector<LeftOut>& left_out) {
  Json files = Json::array();
  for (const LeftOut& left : left_out)
    files.push_back(Json{{"file", left.file}, {"why", left.why}});
  return files;
}

Json ToJson(const Metadata& metadata) {
  Json linears = Json::array();
  for (const LinearMetadata& linear : metadata.linears) linears.push_back(LinearJson(linear));
  return Json{{"schema_version", kMetadataSchemaVersion},
              {"tool", Json{{"name", metadata.tool}, {"version", metadata.version}}},
              {"recipe", metadata.recipe.is_null() ? Json::object() : metadata.recipe},
              {"source", ToJson(metadata.source)},
              {"calibration", metadata.calibration},
              {"totals", TotalsJson(metadata)},
              {"linears", linears},
              {"sidecars", metadata.sidecars.copied},
              {"left_out", ToJson(metadata.sidecars.left_out)},
              {"files", ToJson(metadata.files)},
              {"notes", metadata.notes},
              {"verification", VerificationJson(metadata.verification)}};
}

void WriteMetadata(const Metadata& metadata, const std::filesystem::path& directory) {
  WriteFile(directory / kMetadataFileName, ToJson(metadata).dump(2) + "\n");
}

std::vector<std::pair<std::string, std::string>> MetadataProps(const Metadata& metadata) {
  const Json totals = TotalsJson(metadata);
  return {{"quantization.tool", metadata.tool + " " + metadata.version},
          {"quantization.schema_version", kMetadataSchemaVersion},
          {"quantization.recipe", metadata.recipe.dump()},
          {"quantization.source_sha256", metadata.source.sha256},
          {"quantization.totals", totals.dump()}};
}

}  // namespace ptq
