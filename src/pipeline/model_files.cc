// Finds the models of a directory: those that belong together, in the order of their work.
#include <algorithm>
#include <array>
#include <set>
#include <string>

#include <nlohmann/json.hpp>

#include "ptq/base/confined_path.h"
#include "ptq/base/file.h"
#include "ptq/base/json.h"
#include "ptq/pipeline/directory.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

bool Contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

bool IsPart(const std::string& stem) {
  static constexpr std::array<std::string_view, 11> kWords = {
      "encoder", "decoder", "text_model", "vision",  "audio",  "speech",
      "embed",   "joiner",  "projector",  "prefill", "vocoder"};
  return std::ranges::any_of(kWords, [&](std::string_view word) { return Contains(stem, word); });
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
  const auto config = ParseJson<nlohmann::json>(ReadTextFile(path));
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

}  // namespace

ModelChoice ModelFiles(const fs::path& source) {
  std::error_code error;
  if (!fs::is_directory(source, error)) return {{source}, {}};
  ModelChoice choice = {GenAiFiles(source), {}};
  if (choice.files.empty()) {
    choice = ChooseForms(OnnxFilesIn(source));
    if (choice.files.empty()) choice = ChooseForms(OnnxFilesIn(source / "onnx"));
    const bool parts = std::ranges::any_of(
        choice.files, [](const fs::path& file) { return IsPart(file.stem().string()); });
    if (!parts) return {{source}, {}};
  }
  if (choice.files.empty()) return {{source}, {}};
  std::ranges::sort(choice.files);
  std::ranges::stable_sort(choice.files, {}, Rank);
  return choice;
}

ModelGroup GroupOf(const fs::path& source) {
  std::error_code error;
  ModelGroup group = {{source}, 0};
  if (fs::is_directory(source, error)) return group;
  const fs::path folder = source.has_parent_path() ? source.parent_path() : fs::path(".");
  const std::vector<fs::path> files = ModelFiles(folder).files;
  if (files.size() == 1 && files.front() == folder) return group;
  const std::string stem = source.stem().string();
  const std::string base = FormOfName(stem).base;
  const std::string form = stem.substr(base.size());
  group.files.clear();
  for (const fs::path& file : files) {
    const std::string other = FormOfName(file.stem().string()).base;
    if (other == base) continue;
    const fs::path same = file.parent_path() / (other + form + ".onnx");
    group.files.push_back(fs::exists(same, error) ? same : file);
  }
  group.files.push_back(source);
  std::ranges::sort(group.files);
  std::ranges::stable_sort(group.files, {}, Rank);
  group.index = size_t(std::ranges::find(group.files, source) - group.files.begin());
  return group;
}

}  // namespace ptq
