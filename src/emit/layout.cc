// Names the written files as the runtimes that read them expect.
#include "ptq/emit/layout.h"

#include <system_error>

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "ptq/base/json.h"
#include "ptq/model/model_forms.h"
#include "ptq/transform/tensor_store.h"

namespace ptq {
namespace {

/// What transformers.js reads when it is asked for FP32: the file without a suffix.
constexpr char kPlainType[] = "fp32";

/// The name of a file without the type that it may tell: `model_fp16` is another `model`.
std::string BaseName(const std::string& stem) {
  const std::string base = FormOfName(stem).base;
  return base.empty() ? stem : base;
}

/// Which and how many data files transformers.js fetches: `model_q4.onnx_data`,
/// `model_q4.onnx_data_1` …
void CountDataFiles(nlohmann::ordered_json& own, const OutputFiles& files, size_t data_files) {
  auto& counts = own["use_external_data_format"];
  if (!counts.is_object()) counts = nlohmann::ordered_json::object();
  counts[files.model.filename().string()] = data_files;
}

/// Lets an entry for transformers.js, where there is one, speak of what is written.
void FollowFiles(nlohmann::ordered_json& config, const OutputFiles& files, size_t data_files) {
  if (!files.half_cache &&
      (files.model.parent_path() != "onnx" || !config.contains("transformers.js_config"))) {
    return;
  }
  auto& own = config["transformers.js_config"];
  if (own.is_null()) own = nlohmann::ordered_json::object();
  if (!own.is_object()) return;
  if (auto type = own.find("dtype"); type != own.end()) {
    const std::string stem = files.model.stem().string();
    if (type->is_string()) *type = kPlainType;
    if (type->is_object() && type->contains(stem)) (*type)[stem] = kPlainType;
  }
  if (files.half_cache) own["kv_cache_dtype"] = "float16";
  CountDataFiles(own, files, data_files);
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

OutputFiles FilesOf(Layout layout, const std::filesystem::path& source, int bits, bool half,
                    const Levels* codebook) {
  if (layout == Layout::kFlat) return {};
  if (layout == Layout::kKeep) return FilesIn(FolderOfModel(source), "model.onnx");
  // The types and their suffixes are a fixed table of transformers.js (src/utils/dtypes.js); it has
  // one of 8 bits, and one of codebooks, for all activations.
  OutputFiles files;
  files.dtype = "q" + std::to_string(bits) + (half && bits < 8 ? "f16" : "");
  if (bits == 16) files.dtype = "fp16";
  if (codebook != nullptr) files.dtype = "bnb4";
  const std::string suffix = bits == 8 ? "quantized" : files.dtype;
  files.model = "onnx/" + BaseName(source.stem().string()) + "_" + suffix + ".onnx";
  files.data = files.model.string() + "_data";
  return files;
}

std::vector<std::filesystem::path> DataFilesIn(const std::filesystem::path& directory,
                                               const OutputFiles& files) {
  std::vector<std::filesystem::path> found;
  std::error_code error;
  while (found.size() < kMostDataFiles) {
    auto file = DataFile(files.data, found.size());
    if (!std::filesystem::exists(directory / file, error)) break;
    found.push_back(std::move(file));
  }
  return found;
}

std::string ChooseInTransformersJs(const std::string& config, const OutputFiles& files,
                                   size_t data_files) {
  auto json = ParseJson<nlohmann::ordered_json>(config);
  if (files.dtype.empty()) {
    if (!json.is_object()) return config;
    const auto before = json;
    FollowFiles(json, files, data_files);
    return json == before ? config : DumpJson(json, 2) + "\n";
  }
  if (!json.is_object()) {
    spdlog::warn("config.json is not a JSON object; copied unchanged");
    return config;
  }
  auto& own = json["transformers.js_config"];
  if (!own.is_object()) own = nlohmann::ordered_json::object();
  own["dtype"] = files.dtype;
  if (files.half_cache) own["kv_cache_dtype"] = {{files.dtype, "float16"}};
  CountDataFiles(own, files, data_files);
  return DumpJson(json, 2) + "\n";
}

}  // namespace ptq
