#include <algorithm>
#include <array>
#include <set>
#include <string>

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "ptq/base/confined_path.h"
#include "ptq/base/file.h"
#include "ptq/pipeline/directory.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

bool Contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

bool IsPart(const std::string& stem) {
  static constexpr std::array<std::string_view, 9> kWords = {"encoder", "decoder",   "text_model",
                                                             "vision",  "audio",     "speech",
                                                             "embed",   "projector", "prefill"};
  return std::ranges::any_of(kWords, [&](std::string_view word) { return Contains(stem, word); });
}

/// Another form of a model that is there: encoder_model_fp16 beside encoder_model.
bool IsVariant(const std::string& stem, const std::set<std::string>& stems) {
  static constexpr std::array<std::string_view, 14> kForms = {
      "_fp16",  "_fp32", "_bf16", "_int8",  "_uint8", "_int4", "_quantized",
      "_quant", "_q8",   "_q4",   "_q4f16", "_q2",    "_bnb4", "_q2f16"};
  return std::ranges::any_of(kForms, [&](std::string_view form) {
    return stem.ends_with(form) && stems.contains(stem.substr(0, stem.size() - form.size()));
  });
}

/// Those that make inputs of others come first.
int Rank(const fs::path& file) {
  const std::string stem = file.stem().string();
  if (!Contains(stem, "decoder")) return 0;
  if (Contains(stem, "merged")) return 3;
  return Contains(stem, "with_past") ? 2 : 1;
}

void CollectFileNames(const nlohmann::json& json, std::set<std::string>& names) {
  if (!json.is_structured()) return;
  for (const auto& [key, value] : json.items()) {
    if (key == "filename" && value.is_string()) names.insert(value.get<std::string>());
    CollectFileNames(value, names);
  }
}

/// The models that an ONNX Runtime GenAI configuration names.
std::vector<fs::path> GenAiFiles(const fs::path& directory) {
  const fs::path path = directory / "genai_config.json";
  std::error_code error;
  if (!fs::exists(path, error)) return {};
  const auto config = nlohmann::json::parse(ReadTextFile(path), nullptr, false);
  std::set<std::string> names;
  if (config.is_object() && config.contains("model")) CollectFileNames(config["model"], names);
  std::vector<fs::path> files;
  for (const std::string& name : names) {
    if (!name.ends_with(".onnx")) continue;
    fs::path file = directory / ConfinedName(name, "'" + path.string() + "': model");
    if (fs::exists(file, error)) files.push_back(std::move(file));
  }
  return files;
}

std::vector<fs::path> OnnxFiles(const fs::path& directory) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (entry.path().extension() == ".onnx") files.push_back(entry.path());
  }
  return files;
}

}  // namespace

std::vector<fs::path> ModelFiles(const fs::path& source) {
  std::error_code error;
  if (!fs::is_directory(source, error)) return {source};
  std::vector<fs::path> files = GenAiFiles(source);
  if (files.empty()) {
    files = OnnxFiles(source);
    if (files.empty()) files = OnnxFiles(source / "onnx");
    std::set<std::string> stems;
    for (const fs::path& file : files) stems.insert(file.stem().string());
    std::erase_if(files, [&](const fs::path& file) {
      if (!IsVariant(file.stem().string(), stems)) return false;
      spdlog::info("'{}' is left out: another form of a model beside it", file.filename().string());
      return true;
    });
    const bool parts = std::ranges::any_of(
        files, [](const fs::path& file) { return IsPart(file.stem().string()); });
    if (!parts) return {source};
  }
  if (files.size() < 2) return files.empty() ? std::vector<fs::path>{source} : files;
  std::ranges::sort(files);
  std::ranges::stable_sort(files, {}, Rank);
  return files;
}

}  // namespace ptq
