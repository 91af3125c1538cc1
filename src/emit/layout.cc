// Names the written files as the runtimes that read them expect.
#include "ptq/emit/layout.h"

#include <system_error>

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "ptq/model/model_forms.h"

namespace ptq {
namespace {

/// What transformers.js reads when it is asked for FP32: the file without a suffix.
constexpr char kPlainType[] = "fp32";

/// The name of a file without the type that it may tell: `model_fp16` is another `model`.
std::string BaseName(const std::string& stem) {
  const std::string base = FormOfName(stem).base;
  return base.empty() ? stem : base;
}

/// Lets an entry for transformers.js, where there is one, speak of what is written.
void FollowFiles(nlohmann::ordered_json& config, const OutputFiles& files, bool has_data) {
  if (files.model.parent_path() != "onnx" || !config.contains("transformers.js_config")) return;
  auto& own = config["transformers.js_config"];
  if (!own.is_object()) return;
  if (auto type = own.find("dtype"); type != own.end()) {
    const std::string stem = files.model.stem().string();
    if (type->is_string()) *type = kPlainType;
    if (type->is_object() && type->contains(stem)) (*type)[stem] = kPlainType;
  }
  auto& chunks = own["use_external_data_format"];
  if (chunks.is_null()) chunks = nlohmann::ordered_json::object();
  if (chunks.is_object()) chunks[files.model.filename().string()] = has_data ? 1 : 0;
}

}  // namespace

std::filesystem::path FolderOfModel(const std::filesystem::path& file) {
  std::error_code error;
  const auto directory = std::filesystem::absolute(file, error).lexically_normal().parent_path();
  return directory.filename() == "onnx" ? directory.filename() : std::filesystem::path();
}

OutputFiles FilesIn(const std::filesystem::path& folder, const std::string& name) {
  return {folder / name, folder / (name + (folder == "onnx" ? "_data" : ".data")), ""};
}

OutputFiles FilesOf(Layout layout, const std::filesystem::path& source, int bits, bool half) {
  if (layout == Layout::kFlat) return {};
  if (layout == Layout::kKeep) return FilesIn(FolderOfModel(source), "model.onnx");
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
  if (files.dtype.empty()) {
    if (!json.is_object()) return config;
    const auto before = json;
    FollowFiles(json, files, has_data);
    return json == before ? config : json.dump(2) + "\n";
  }
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
