// Collects the files that belong to a model, and adapts those that name it.
#include "ptq/emit/sidecars.h"

#include <algorithm>
#include <set>
#include <utility>

#include "model_card.h"
#include "sidecar_kinds.h"
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "ptq/base/confined_path.h"
#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/folders.h"
#include "ptq/base/interrupt.h"
#include "ptq/base/json.h"
#include "ptq/base/links.h"
#include "ptq/emit/metadata.h"
#include "ptq/emit/model_card.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

constexpr int kDeepest = 4;
/// Names in one line for people.
constexpr size_t kNamesShown = 8;

/// The models of a package in the source.
struct SourceFiles {
  fs::path root;
  std::set<fs::path> models;   ///< without links in front of the name
  std::set<fs::path> data;     ///< the same
  std::set<fs::path> folders;  ///< below the root, where models are
};

fs::path Place(const fs::path& file) {
  std::error_code error;
  return fs::weakly_canonical(file.parent_path().empty() ? "." : file.parent_path(), error) /
         file.filename();
}

SourceFiles Describe(const fs::path& root, std::span<const fs::path> models,
                     std::span<const fs::path> data_files) {
  SourceFiles files;
  std::error_code error;
  files.root = fs::weakly_canonical(root, error);
  for (const fs::path& file : models) {
    files.models.insert(Place(file));
    files.folders.insert(Place(file).parent_path().lexically_relative(files.root));
  }
  for (const fs::path& file : data_files) files.data.insert(Place(file));
  return files;
}

/// Directories of the modules that follow the model: {"path": "2_Dense", "type": "….Dense"}.
std::set<fs::path> ModulesBehind(const fs::path& root) {
  std::set<fs::path> paths;
  std::error_code error;
  if (!fs::is_regular_file(root / "modules.json", error)) return paths;
  const auto modules = ParseJson<nlohmann::json>(ReadTextFile(root / "modules.json"));
  if (!modules.is_array()) return paths;
  for (const auto& module : modules) {
    if (!module.is_object() || !module.contains("path") || !module["path"].is_string()) continue;
    const auto path = module["path"].get<std::string>();
    if (!path.empty()) paths.insert(path);
  }
  return paths;
}

bool HoldsModel(const fs::path& directory) {
  return std::ranges::any_of(EntriesOf(directory), [](const fs::path& entry) {
    return SidecarKindOf({}, entry.filename()) == SidecarKind::kModel ||
           entry.filename() == kMetadataFileName;
  });
}

class Collector {
 public:
  Collector(const SourceFiles& source, const fs::path& destination)
      : source_(source),
        destination_(fs::weakly_canonical(destination)),
        modules_(ModulesBehind(source.root)) {
    if (const auto cached = FindCachedRepository(source.root)) allowed_.push_back(cached->blobs);
    allowed_.push_back(source.root);
    whole_ = std::ranges::any_of(EntriesOf(source.root), DescribesModel);
  }

  Sidecars Collect() {
    Visit("", 0);
    std::ranges::sort(found_.copied);
    std::ranges::sort(found_.left_out, {}, &LeftOut::file);
    return std::move(found_);
  }

 private:
  void Visit(const fs::path& folder, int depth) {
    std::error_code error;
    for (const fs::path& entry : EntriesOf(source_.root / folder)) {
      const fs::path path = folder / entry.filename();
      if (path.filename().string().starts_with(".")) continue;
      if (!fs::is_directory(entry, error)) {
        VisitFile(path);
      } else if (depth < kDeepest) {
        VisitDirectory(path, depth, fs::is_symlink(fs::symlink_status(entry, error)));
      }
    }
  }

  void VisitDirectory(const fs::path& path, int depth, bool is_link) {
    std::error_code error;
    const fs::path real = source_.root / path;
    if (Holds(path) && !is_link) return Visit(path, depth + 1);
    if (!whole_ || is_link || fs::weakly_canonical(real, error) == destination_) return;
    if (IsModelDirectory(path)) return LeaveOut(path / "", "weights of another framework");
    if (HoldsModel(real)) return LeaveOut(path / "", "holds another model");
    Visit(path, depth + 1);
  }

  /// Whether models of the package are in this folder or below it.
  [[nodiscard]] bool Holds(const fs::path& folder) const {
    return std::ranges::any_of(source_.folders, [&](const fs::path& models) {
      const fs::path inside = models.lexically_relative(folder);
      return !inside.empty() && *inside.begin() != "..";
    });
  }

  void LeaveOut(const fs::path& path, const std::string& why) {
    found_.left_out.push_back({path.generic_string(), why});
  }

  void VisitFile(const fs::path& path) {
    const fs::path real = source_.root / path;
    if (source_.models.contains(real) || source_.data.contains(real)) return;
    if (path.filename() == kMetadataFileName) return;
    switch (SidecarKindOf(source_.root, path)) {
      case SidecarKind::kModel: return LeaveOut(path, "another model, or another form of this one");
      case SidecarKind::kWeights:
        if (!IsModuleOfPipeline(path)) return LeaveOut(path, "weights of another framework");
        break;
      case SidecarKind::kLegal: break;
      case SidecarKind::kRuntime:
        if (!whole_ && !source_.folders.contains(Folder(path))) return;
        break;
      case SidecarKind::kOtherFile:
        if (!whole_) return;
        break;
    }
    Take(path);
  }

  /// As an entry of `folders`: "." is the root.
  static fs::path Folder(const fs::path& path) {
    return path.has_parent_path() ? path.parent_path() : fs::path(".");
  }

  /// A small layer behind the model has no other form: its first file is taken.
  [[nodiscard]] bool IsModuleOfPipeline(const fs::path& path) const {
    if (!modules_.contains(path.parent_path())) return false;
    std::error_code error;
    const bool first = path.filename() == "model.safetensors";
    const fs::path other = source_.root / path.parent_path() / "model.safetensors";
    return first || (path.filename() == "pytorch_model.bin" && !fs::exists(other, error));
  }

  void Take(const fs::path& path) {
    const fs::path file = source_.root / path;
    std::error_code error;
    if (!fs::is_regular_file(file, error)) {
      if (fs::is_symlink(file, error)) LeaveOut(path, "a link to nothing");
      return;
    }
    if (std::ranges::none_of(allowed_, [&](const fs::path& at) { return Contains(at, file); })) {
      spdlog::warn("'" + file.string() +
                   "' is a link that leads out of the model's directory; not copied");
      return LeaveOut(path, "a link that leads out of the model's directory");
    }
    if (static_cast<int64_t>(fs::file_size(file, error)) > kLargestSidecar) {
      return LeaveOut(path, "larger than a sidecar file should be");
    }
    found_.copied.push_back(path.generic_string());
  }

  const SourceFiles& source_;
  fs::path destination_;
  std::set<fs::path> modules_;
  std::vector<fs::path> allowed_;  ///< where links may lead
  Sidecars found_;
  bool whole_ = false;
};

/// Renames the model file in a GenAI configuration; other text stays byte for byte when it names
/// none.
std::string PointToModel(const std::string& text, const std::string& old_name,
                         const std::string& new_name) {
  if (old_name == new_name) return text;
  auto config = ParseJson<nlohmann::ordered_json>(text);
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
  return changed ? DumpJson(config, 4) + "\n" : text;
}

bool IsHubId(const std::string& text) {
  const size_t slash = text.find('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == text.size()) return false;
  return std::isalnum(static_cast<unsigned char>(text.front())) != 0 &&
         text.find('/', slash + 1) == std::string::npos &&
         std::ranges::all_of(text, [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '/' || c == '.' || c == '_' || c == '-';
         });
}

bool IsModelCard(const fs::path& relative) {
  const std::string name = relative.generic_string();
  return name == "README.md" || name == "readme.md" || name == "Readme.md";
}

/// `model_file`: below the root, the name that genai_config.json replaces by that of the only one
/// of `files`; empty when the names stay.
std::string Adapted(const SourceFiles& source, const fs::path& relative, std::string text,
                    const fs::path& destination, std::span<const OutputFiles> files,
                    const fs::path& model_file) {
  if (relative.filename() == "genai_config.json" && !model_file.empty()) {
    const auto from_here = [&](const fs::path& file) {
      return file.lexically_relative(relative.has_parent_path() ? relative.parent_path() : ".");
    };
    return PointToModel(text, from_here(model_file).generic_string(),
                        from_here(files.front().model).generic_string());
  }
  if (IsModelCard(relative)) return QuantizedCard(text, HubIdOf(source.root));
  if (relative != "config.json") return text;
  for (const OutputFiles& written : files) {
    text = ChooseInTransformersJs(text, written, DataFilesIn(destination, written).size());
  }
  return text;
}

/// "a, b and 3 more"
std::string Listed(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kNamesShown); ++i) {
    text += (i == 0 ? "" : ", ") + names[i];
  }
  if (names.size() > kNamesShown) {
    text += " and " + std::to_string(names.size() - kNamesShown) + " more";
  }
  return text;
}

Sidecars CopyAll(const SourceFiles& source, const fs::path& destination,
                 std::span<const OutputFiles> files, const fs::path& model_file) {
  Sidecars sidecars = Collector(source, destination).Collect();
  for (const std::string& name : sidecars.copied) {
    CheckInterrupt();
    std::error_code error;
    const fs::path target = destination / name;
    fs::create_directories(target.parent_path(), error);
    if (error) throw OutputError("cannot create '" + target.parent_path().string() + "'");
    WriteFile(target, Adapted(source, name, ReadTextFile(source.root / name), destination, files,
                              model_file));
  }
  return sidecars;
}

}  // namespace

std::string HubIdOf(const fs::path& root) {
  if (const auto cached = FindCachedRepository(root); cached && IsHubId(cached->id)) {
    return cached->id;
  }
  std::error_code error;
  if (!fs::is_regular_file(root / "config.json", error)) return "";
  const auto config = ParseJson<nlohmann::json>(ReadTextFile(root / "config.json"));
  if (!config.is_object() || !config.contains("_name_or_path")) return "";
  const auto& name = config["_name_or_path"];
  return name.is_string() && IsHubId(name.get<std::string>()) ? name.get<std::string>() : "";
}

void SaySidecars(const Sidecars& sidecars) {
  if (!sidecars.copied.empty()) {
    spdlog::info("copied beside the model: " + Listed(sidecars.copied));
  }
  std::vector<std::string> names;
  for (const LeftOut& left : sidecars.left_out) names.push_back(left.file + " (" + left.why + ")");
  if (!names.empty()) spdlog::info(std::to_string(names.size()) + " left out: " + Listed(names));
}

fs::path SidecarDirectory(const fs::path& directory) {
  const fs::path own = directory.empty() ? fs::path(".") : directory;
  std::error_code error;
  const fs::path absolute = fs::absolute(own, error).lexically_normal();
  const fs::path plain = absolute.filename().empty() ? absolute.parent_path() : absolute;
  return FolderOfModel(plain / "model.onnx").empty() ? plain : plain.parent_path();
}

Sidecars CopySidecars(const Model& model, const fs::path& destination, const OutputFiles& files) {
  std::vector<fs::path> data_files;
  for (const std::string& name : model.ExternalFiles()) data_files.push_back(model.DataFile(name));
  const fs::path& path = model.path();
  const SourceFiles source =
      Describe(SidecarDirectory(model.directory()), std::span(&path, 1), data_files);
  return CopyAll(source, destination, std::span(&files, 1), FolderOfModel(path) / path.filename());
}

Sidecars CopySidecars(const fs::path& root, std::span<const fs::path> models,
                      std::span<const fs::path> data_files, const fs::path& destination,
                      std::span<const OutputFiles> files) {
  return CopyAll(Describe(root, models, data_files), destination, files, {});
}

}  // namespace ptq
