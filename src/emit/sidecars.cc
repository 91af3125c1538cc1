#include "ptq/emit/sidecars.h"

#include <algorithm>
#include <cctype>
#include <set>

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/interrupt.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

constexpr int kDeepest = 4;

std::string Lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

/// `model.onnx`, `model.onnx_data`, `model.onnx.data`, `model.onnx_data_1` …
bool IsModelPart(const fs::path& path) {
  const std::string name = Lower(path.filename().string());
  return name.ends_with(".onnx") || name.find(".onnx.data") != std::string::npos ||
         name.find(".onnx_data") != std::string::npos || name.ends_with(".ort");
}

bool DescribesModel(const fs::path& path) {
  static const std::set<std::string> kNames = {"config.json",
                                               "genai_config.json",
                                               "generation_config.json",
                                               "tokenizer.json",
                                               "tokenizer.model",
                                               "tokenizer_config.json",
                                               "vocab.json",
                                               "vocab.txt",
                                               "modules.json",
                                               "preprocessor_config.json",
                                               "processor_config.json"};
  return kNames.contains(path.filename().string());
}

bool IsLicenceOrReadme(const fs::path& path) {
  const std::string name = Lower(path.filename().string());
  return name.starts_with("license") || name.starts_with("licence") || name.starts_with("notice") ||
         name.starts_with("readme");
}

bool Inside(const fs::path& path, const fs::path& directory) {
  const auto relative = path.lexically_relative(directory);
  return !relative.empty() && *relative.begin() != "..";
}

class Collector {
 public:
  Collector(fs::path root, std::set<fs::path> external, const fs::path& destination)
      : root_(std::move(root)),
        destination_(fs::weakly_canonical(destination)),
        external_(std::move(external)) {
    std::error_code error;
    real_root_ = fs::canonical(root_, error);
    // A Hugging Face cache keeps the files of a snapshot as links into `blobs`.
    const auto blobs = real_root_.parent_path().parent_path() / "blobs";
    if (real_root_.parent_path().filename() == "snapshots") blobs_ = fs::canonical(blobs, error);
  }

  std::vector<fs::path> Collect() {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(root_, error)) {
      if (DescribesModel(entry.path())) whole_ = true;
    }
    Visit(root_, 0);
    std::ranges::sort(found_);
    return found_;
  }

 private:
  void Visit(const fs::path& directory, int depth) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(directory, error)) {
      const fs::path& path = entry.path();
      if (path.filename().string().starts_with(".")) continue;
      if (!entry.is_directory(error)) {
        VisitFile(path);
      } else if (whole_ && depth < kDeepest && !entry.is_symlink(error) && !HoldsModel(path) &&
                 fs::weakly_canonical(path, error) != destination_) {
        Visit(path, depth + 1);
      }
    }
  }

  static bool HoldsModel(const fs::path& directory) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(directory, error)) {
      if (IsModelPart(entry.path())) return true;
      if (entry.path().filename() == "quantization_metadata.json") return true;
    }
    return false;
  }

  void VisitFile(const fs::path& path) {
    std::error_code error;
    const fs::path real = fs::canonical(path, error);
    if (error || !fs::is_regular_file(real, error)) return;
    if (IsModelPart(path) || external_.contains(fs::weakly_canonical(path, error)) ||
        path.filename() == "quantization_metadata.json") {
      return;
    }
    if (!whole_ && !IsLicenceOrReadme(path)) return;
    if (!Inside(real, real_root_) && (blobs_.empty() || !Inside(real, blobs_))) {
      spdlog::warn("'{}' is a link that leads out of the model's directory; not copied",
                   path.string());
      return;
    }
    if (static_cast<int64_t>(fs::file_size(real, error)) > kLargestSidecar) {
      spdlog::info("'{}' is larger than a sidecar file should be; not copied", path.string());
      return;
    }
    found_.push_back(path.lexically_relative(root_));
  }

  fs::path root_, real_root_, blobs_, destination_;
  std::set<fs::path> external_;  ///< data files of the models
  std::vector<fs::path> found_;
  bool whole_ = false;
};

/// Renames the model file in a GenAI configuration; other text stays byte for byte when it names
/// none.
std::string PointToModel(const std::string& text, const std::string& old_name,
                         const std::string& new_name) {
  if (old_name == new_name) return text;
  auto config = nlohmann::ordered_json::parse(text, nullptr, false);
  if (config.is_discarded() || !config.contains("model") || !config["model"].is_object()) {
    spdlog::warn("genai_config.json is not what ONNX Runtime GenAI writes; copied unchanged");
    return text;
  }
  bool changed = false;
  for (auto& part : config["model"]) {
    if (!part.is_object() || !part.contains("filename")) continue;
    if (part["filename"] != old_name) continue;
    part["filename"] = new_name;
    changed = true;
  }
  return changed ? config.dump(4) + "\n" : text;
}

/// Copies what the collector finds below `root`; `model_file` is renamed in genai_config.json.
/// `model_file`: the name that genai_config.json replaces by that of the only one of `files`; empty
/// when the names stay.
std::vector<std::string> CopyAll(const fs::path& root, std::set<fs::path> external,
                                 const fs::path& destination, std::span<const OutputFiles> files,
                                 const std::string& model_file) {
  std::vector<std::string> names;
  for (const fs::path& relative : Collector(root, std::move(external), destination).Collect()) {
    CheckInterrupt();
    std::error_code error;
    const fs::path target = destination / relative;
    fs::create_directories(target.parent_path(), error);
    if (error) throw OutputError("cannot create '" + target.parent_path().string() + "'");
    std::string text = ReadTextFile(root / relative);
    if (relative == "genai_config.json" && !model_file.empty()) {
      text = PointToModel(text, model_file, files.front().model.generic_string());
    }
    for (const OutputFiles& written : files) {
      if (relative != "config.json" || written.dtype.empty()) continue;
      text = ChooseInTransformersJs(text, written, fs::exists(destination / written.data, error));
    }
    WriteFile(target, text);
    names.push_back(relative.generic_string());
  }
  return names;
}

std::set<fs::path> DataFilesOf(const Model& model) {
  std::set<fs::path> files;
  std::error_code error;
  for (const std::string& name : model.ExternalFiles()) {
    files.insert(fs::weakly_canonical(model.directory() / name, error));
  }
  return files;
}

}  // namespace

fs::path SidecarDirectory(const fs::path& directory) {
  const fs::path own = directory.empty() ? fs::path(".") : directory;
  std::error_code error;
  const fs::path absolute = fs::absolute(own, error).lexically_normal();
  const fs::path plain = absolute.filename().empty() ? absolute.parent_path() : absolute;
  return plain.filename() == "onnx" ? plain.parent_path() : plain;
}

std::vector<std::string> CopySidecars(const Model& model, const fs::path& destination,
                                      const OutputFiles& files) {
  return CopyAll(SidecarDirectory(model.directory()), DataFilesOf(model), destination,
                 std::span(&files, 1), model.path().filename());
}

std::vector<std::string> CopySidecars(const fs::path& root, std::span<const fs::path> data_files,
                                      const fs::path& destination,
                                      std::span<const OutputFiles> files) {
  std::set<fs::path> external;
  std::error_code error;
  for (const fs::path& file : data_files) external.insert(fs::weakly_canonical(file, error));
  return CopyAll(root, std::move(external), destination, files, "");
}

}  // namespace ptq
