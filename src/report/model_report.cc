#include "ptq/report/model_report.h"

#include <map>
#include <sstream>

#include <nlohmann/json.hpp>

#include "ptq/base/memory.h"
#include "ptq/report/table.h"

namespace ptq {
namespace {

using Json = nlohmann::ordered_json;

Json ValueJson(const Graph& graph, ValueId id) {
  const auto declared = graph.DeclaredType(id);
  Json json;
  json["name"] = graph.value(id).name;
  json["type"] = DTypeName(declared.dtype);
  json["shape"] = declared.shape.has_value() ? Json(*declared.shape) : Json(nullptr);
  return json;
}

}  // namespace

Json ModelJson(const Graph& graph) {
  const onnx::ModelProto& proto = graph.model().proto();
  Json json;
  json["file"] = graph.model().path().filename().string();
  json["producer"] = proto.producer_name() + " " + proto.producer_version();
  json["ir_version"] = proto.ir_version();
  for (const auto& import : proto.opset_import()) {
    json["opsets"][import.domain().empty() ? "ai.onnx" : import.domain()] = import.version();
  }
  for (const ValueId id : graph.graph_inputs()) json["inputs"].push_back(ValueJson(graph, id));
  for (const ValueId id : graph.graph_outputs()) json["outputs"].push_back(ValueJson(graph, id));
  std::map<std::string, int64_t> operators;
  for (const Node& node : graph.nodes()) {
    ++operators[(node.domain().empty() ? "" : node.domain() + "::") + node.op_type()];
  }
  json["operators"] = operators;
  std::map<std::string, std::pair<int64_t, int64_t>> weights;  // count, bytes
  for (const onnx::TensorProto& tensor : graph.proto().initializer()) {
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

std::string ModelText(const Graph& graph) {
  const Json json = ModelJson(graph);
  std::ostringstream text;
  text << "model      " << json["file"].get<std::string>() << ", IR " << json["ir_version"] << ", "
       << json["producer"].get<std::string>() << '\n';
  text << "opsets    ";
  for (const auto& [domain, version] : json["opsets"].items())
    text << ' ' << domain << ' ' << version;
  text << '\n';
  for (const char* kind : {"inputs", "outputs"}) {
    if (!json.contains(kind)) continue;
    for (const auto& value : json[kind]) {
      text << (kind[0] == 'i' ? "input      " : "output     ") << value["name"].get<std::string>()
           << ' ' << value["type"].get<std::string>() << ' ' << value["shape"].dump() << '\n';
    }
  }
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
