#include "ptq/emit/layout.h"

#include <initializer_list>
#include <string_view>

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

namespace ptq {
namespace {

/// The name of a file without the type that it may tell: `model_fp16` is another `model`.
std::string BaseName(std::string stem) {
  for (const std::string_view suffix : {"_fp16", "_int8", "_uint8", "_quantized", "_q4", "_q4f16",
                                        "_q2", "_q2f16", "_q1", "_q1f16", "_bnb4"}) {
    if (stem.size() > suffix.size() && stem.ends_with(suffix)) {
      stem.resize(stem.size() - suffix.size());
      break;
    }
  }
  return stem;
}

}  // namespace

OutputFiles FilesOf(Layout layout, const std::filesystem::path& source, int bits, bool half) {
  if (layout == Layout::kFlat) return {};
  // The types and their suffixes are a fixed table of transformers.js (src/utils/dtypes.js); it has
  // one of 8 bits for all activations.
  OutputFiles files;
  files.dtype = "q" + std::to_string(bits) + (half && bits < 8 ? "f16" : "");
  const std::string suffix = bits == 8 ? "quantized" : files.dtype;
  files.model = "onnx/" + BaseName(source.stem().string()) + "_" + suffix + ".onnx";
  files.data = files.model.string() + "_data";
  return files;
}

std::string ChooseInTransformersJs(const std::string& config, const OutputFiles& files,
                                   bool has_data) {
  auto json = nlohmann::ordered_json::parse(config, nullptr, false);
  if (!json.is_object()) {
    spdlog::warn("config.json is not a JSON object; copied unchanged");
    return config;
  }
  auto& own = json["transformers.js_config"];
  if (!own.is_object()) own = nlohmann::ordered_json::object();
  own["dtype"] = files.dtype;
  auto& chunks = own["use_external_data_format"];  // a number of data files for each model file
  if (!chunks.is_object()) chunks = nlohmann::ordered_json::object();
  chunks[files.model.filename().string()] = has_data ? 1 : 0;
  return json.dump(2) + "\n";
}

}  // namespace ptq
