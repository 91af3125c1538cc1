// Collects files, inputs, outputs, opsets, weights and operators as JSON, and words them.
#include "ptq/report/model_report.h"

#include <filesystem>
#include <map>
#include <sstream>

#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/base/format.h"
#include "ptq/base/json.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

/// Numbers, names, and null for a dimension that has neither. Null when no shape is declared.
Json DimensionsJson(const Graph::Declared& declared) {
  if (!declared.shape.has_value()) return nullptr;
  Json dimensions = Json::array();
  for (size_t i = 0; i < declared.shape->size(); ++i) {
    const int64_t dim = (*declared.shape)[i];
    const std::string& name = declared.names[i];
    dimensions.push_back(dim >= 0 ? Json(dim) : name.empty() ? Json(nullptr) : Json(name));
  }
  return dimensions;
}

Json ValueJson(const Graph& graph, ValueId id) {
  const auto declared = graph.DeclaredType(id);
  Json json;
  json["name"] = graph.value(id).name;
  json["type"] = DTypeName(declared.dtype);
  json["shape"] = declared.shape.has_value() ? Json(*declared.shape) : Json(nullptr);
  json["dimensions"] = DimensionsJson(declared);
  return json;
}

/// "batch x sequence x 64"; "scalar" without dimensions, "any shape" where it is not declared.
std::string DimensionsText(const Json& dimensions) {
  if (dimensions.is_null()) return "of any shape";
  if (dimensions.empty()) return "scalar";
  std::string text;
  for (const Json& dim : dimensions) {
    text += text.empty() ? "" : " x ";
    text += dim.is_null() ? "?" : dim.is_string() ? dim.get<std::string>() : DumpJson(dim);
  }
  return text;
}

Json SizeOf(const std::filesystem::path& file) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(file, error);
  return error ? Json(nullptr) : Json(bytes);
}

/// The model's own file and those with its data; one that is missing has no size.
Json FilesJson(const Model& model) {
  Json files = Json::array();
  files.push_back({{"name", model.path().filename().string()}, {"bytes", SizeOf(model.path())}});
  for (const std::string& name : model.ExternalFiles()) {
    Json bytes;
    try {
      bytes = SizeOf(model.DataFile(name));
    } catch (const InputError&) {  // it is not there
    }
    files.push_back({{"name", name}, {"bytes", bytes}});
  }
  return files;
}

std::string SizeText(const Json& bytes) {
  return bytes.is_null() ? "missing" : FormatBytes(bytes.get<int64_t>());
}

/// File, sizes, inputs and outputs.
std::string FrontText(const Json& json) {
  std::ostringstream text;
  text << "model      " << json["file"].get<std::string>() << ", IR " << json["ir_version"] << ", "
       << json["producer"].get<std::string>() << '\n';
  int64_t sum = 0;
  for (const Json& file : json["files"]) {
    text << (&file == &json["files"].front() ? "files      " : "           ")
         << file["name"].get<std::string>() << ' ' << SizeText(file["bytes"]) << '\n';
    if (!file["bytes"].is_null()) sum += file["bytes"].get<int64_t>();
  }
  if (json["files"].size() > 1) text << "           together " << FormatBytes(sum) << '\n';
  for (const char* kind : {"inputs", "outputs"}) {
    if (!json.contains(kind)) continue;
    for (const auto& value : json[kind]) {
      text << (kind[0] == 'i' ? "input      " : "output     ") << value["name"].get<std::string>()
           << ' ' << value["type"].get<std::string>() << ' ' << DimensionsText(value["dimensions"])
           << '\n';
    }
  }
  return text.str();
}

}  // namespace

Json ModelFrontJson(const Graph& graph) {
  const auto& proto = graph.model().proto();
  Json json;
  json["file"] = graph.model().path().filename().string();
  json["files"] = FilesJson(graph.model());
  json["producer"] = proto.producer_name() + " " + proto.producer_version();
  json["ir_version"] = proto.ir_version();
  for (const ValueId id : graph.graph_inputs()) json["inputs"].push_back(ValueJson(graph, id));
  for (const ValueId id : graph.graph_outputs()) json["outputs"].push_back(ValueJson(graph, id));
  return json;
}

Json ModelJson(const Graph& graph) {
  const auto& proto = graph.model().proto();
  Json json = ModelFrontJson(graph);
  for (const auto& import : proto.opset_import()) {
    json["opsets"][import.domain().empty() ? "ai.onnx" : import.domain()] = import.version();
  }
  std::map<std::string, int64_t> operators;
  for (const Node& node : graph.nodes()) {
    ++operators[(node.domain().empty() ? "" : node.domain() + "::") + node.proto().op_type()];
  }
  json["operators"] = operators;
  std::map<std::string, std::pair<int64_t, int64_t>> weights;  // count, bytes
  for (const StoredTensor& tensor : graph.proto().initializer()) {
    const auto dtype = static_cast<DType>(tensor.data_type());
    int64_t elements = 1;
    for (const int64_t dim : tensor.dims()) elements *= dim;
    auto& entry = weights[std::string(DTypeName(dtype))];
    ++entry.first;
    entry.second += BytesOf(dtype, elements);
  }
  for (const auto& [type, entry] : weights) {
    json["weights"][type] = {{"tensors", entry.first}, {"bytes", entry.second}};
  }
  return json;
}

std::string ModelFrontText(const Graph& graph) { return FrontText(ModelFrontJson(graph)); }

std::string ModelText(const Graph& graph) {
  const Json json = ModelJson(graph);
  std::ostringstream text;
  text << FrontText(json) << "opsets    ";
  for (const auto& [domain, version] : json["opsets"].items()) {
    text << ' ' << domain << ' ' << version;
  }
  text << '\n';
  if (json.contains("weights")) {
    for (const auto& [type, entry] : json["weights"].items()) {
      text << "weights    " << type << ": " << entry["tensors"] << " tensors, "
           << FormatBytes(entry["bytes"].get<int64_t>()) << '\n';
    }
  }
  text << "operators ";
  for (const auto& [type, count] : json["operators"].items()) text << ' ' << type << " x" << count;
  text << '\n';
  return text.str();
}

}  // namespace ptq
