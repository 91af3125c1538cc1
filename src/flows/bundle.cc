// Checks where a bundle goes, writes it beside that place, and gives it its name when it is right.
#include "ptq/flows/bundle.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

#include "bundle_check.h"
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "ptq/base/confined_path.h"
#include "ptq/base/disk.h"
#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/format.h"
#include "ptq/base/hash.h"
#include "ptq/base/json.h"
#include "ptq/base/progress.h"
#include "ptq/base/staged_directory.h"
#include "ptq/emit/sidecars.h"
#include "ptq/emit/written_files.h"
#include "ptq/model/model_paths.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Room for the graph's growth, the metadata and small files.
constexpr int64_t kSpare = int64_t{8} << 20;

/// A name of a model: its file's, or its directory's where the file is just "model".
std::string NameOf(const fs::path& source) {
  const fs::path path = fs::absolute(source).lexically_normal();
  const bool file = path.extension() == ".onnx";
  std::string name = file ? path.stem().string() : path.filename().string();
  if (name.empty()) name = path.parent_path().filename().string();  // "dir/"
  if (file && name == "model") name = path.parent_path().filename().string();
  std::string kept;
  for (const char c : name) {
    const bool fits = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
    kept += fits ? c : '-';
  }
  return kept;
}

/// Fills in the names that nobody has given.
void NameModels(const BundleRequest& request, std::array<std::string, 2>& names) {
  std::array<std::string, 2> found = {NameOf(request.sources[0]), NameOf(request.sources[1])};
  if (found[0] == found[1] || found[0].empty() || found[1].empty()) found = {"first", "second"};
  for (size_t i = 0; i < 2; ++i) {
    if (names[i].empty()) names[i] = found[i];
  }
  if (names[0] == names[1]) {
    throw UsageError("--names: both models would be called '" + names[0] + "'; give two names");
  }
}

void CheckBundleDestination(const BundleRequest& request, const std::array<Model, 2>& models) {
  if (request.destination.extension() == ".onnx") {
    throw UsageError("'" + request.destination.string() +
                     "' is the name of a file; a bundle is a directory, give one as --dst");
  }
  for (const Model& model : models) {
    for (const fs::path& file : PathsOf(model)) {
      if (!Contains(request.destination, file)) continue;
      throw OutputError("destination '" + request.destination.string() + "' holds the source '" +
                        file.string() + "', which is never replaced; choose another --dst");
    }
  }
}

int64_t BytesOfFiles(const Model& model) {
  int64_t bytes = 0;
  for (const fs::path& file : PathsOf(model)) bytes += int64_t(fs::file_size(file));
  return bytes;
}

/// The metadata beside a model, when a run has written it.
Json MetadataBeside(const Model& model) {
  const fs::path file = SidecarDirectory(model.directory()) / kMetadataFileName;
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return nullptr;
  auto json = ParseJson<Json>(ReadTextFile(file));
  if (!json.is_object() || !WrittenFiles(file.parent_path())) return nullptr;
  return json;
}

std::string FormName(BundleForm form) {
  switch (form) {
    case BundleForm::kGraph: return "graph";
    case BundleForm::kFiles: return "files";
    case BundleForm::kPackage: return "package";
  }
  throw InternalError("unknown form of a bundle");
}

/// quantization_metadata.json of a bundle (docs/metadata-schema.md).
Json BundleMetadata(const BundleReport& report, const std::array<Model, 2>& models,
                    const Sidecars& sidecars) {
  const SwitchOptions& choice = report.options.choice;
  const bool graph = report.options.form == BundleForm::kGraph;
  Json variants = Json::array();
  for (size_t i = 0; i < 2; ++i) {
    variants.push_back({{"name", choice.names[i]},
                        {"source", ToJson(report.sources[i])},
                        {"source_bytes", report.source_bytes[i]},
                        {"own_bytes", report.figures.own_bytes[i]},
                        {"metadata", MetadataBeside(models[i])}});
  }
  Json bundle = {{"form", FormName(report.options.form)},
                 {"default", choice.names[size_t(choice.default_model)]},
                 {"shared_bytes", report.figures.shared_bytes},
                 {"model_bytes", report.figures.model_bytes},
                 {"data_bytes", report.figures.data_bytes}};
  if (graph) {
    bundle["input"] = choice.input;
    bundle["switch"] = report.options.switch_form == SwitchForm::kLinear ? "linear" : "whole";
    bundle["regions"] = report.figures.regions;
  }
  bundle["variants"] = std::move(variants);
  const auto& verified = report.verification;
  return {{"schema_version", kMetadataSchemaVersion},
          {"tool", ToolJson()},
          {"bundle", std::move(bundle)},
          {"sidecars", sidecars.copied},
          {"left_out", ToJson(sidecars.left_out)},
          {"files", ToJson(report.files)},
          {"verification",
           verified.done ? Json{{"max_relative_error", verified.max_relative}} : Json(nullptr)}};
}

void CheckRoom(const fs::path& staged, const BundleFigures& figures) {
  const int64_t need = figures.model_bytes + figures.data_bytes + kSpare;
  const auto room = FreeBytes(staged);
  if (!room.has_value() || *room >= need) return;
  throw NoSpaceError("not enough room beside '" + staged.string() + "': the bundle needs " +
                     FormatBytes(need) + ", " + FormatBytes(*room) +
                     " are free; choose another "
                     "--dst");
}

/// Everything that the destination will hold.
void WriteBundle(const BundleRequest& request, const std::array<Model, 2>& models,
                 const BundleWriter& writer, const fs::path& directory, BundleReport& report) {
  report.figures = writer.Write(directory);
  std::vector<fs::path> names = writer.ModelFiles();
  BundleRequest checked = request;
  checked.options = report.options;
  if (request.verify) {
    report.verification = VerifyBundle(checked, directory, names);
    if (!report.verification.done) spdlog::warn("not verified: " + report.verification.note);
  } else {
    report.verification.note = "--no-verify";
  }
  const bool has_data = report.figures.data_bytes > 0;
  OutputFiles files;
  files.model = names.size() > 1 ? names[size_t(report.options.choice.default_model)] : names[0];
  files.data = BundleWriter::DataFile();
  if (has_data) names.push_back(BundleWriter::DataFile());
  if (report.options.form == BundleForm::kPackage) {
    const std::string name = fs::absolute(request.destination).lexically_normal().filename();
    names = ArrangePackage(directory, report.options.choice.names, name, has_data);
    files.model =
        fs::path(report.options.choice.names[size_t(report.options.choice.default_model)]) /
        "model.onnx";
  }
  const Sidecars sidecars = CopySidecars(models[0], directory, files);
  SaySidecars(sidecars);
  names.insert(names.end(), sidecars.copied.begin(), sidecars.copied.end());
  report.files = DescribeFiles(directory, names);
  WriteFile(directory / kMetadataFileName,
            DumpForPeople(BundleMetadata(report, models, sidecars)) + "\n");
}

}  // namespace

BundleReport BundleModels(const BundleRequest& request) {
  BundleReport report;
  report.destination = request.destination;
  report.options = request.options;
  NameModels(request, report.options.choice.names);
  const Replacement replacement{request.overwrite, WrittenFiles};
  const std::array<Model, 2> models = {Model::LoadUnchanged(request.sources[0]),
                                       Model::LoadUnchanged(request.sources[1])};
  CheckBundleDestination(request, models);
  if (request.dry_run) {
    StagedDirectory::Check(request.destination, replacement, /*resume=*/false);
  }
  std::optional<StagedDirectory> staged;
  if (!request.dry_run) staged.emplace(request.destination, replacement);
  for (size_t i = 0; i < 2; ++i) {
    report.sources[i] = DescribeSource(models[i]);
    if (!request.dry_run) report.sources[i].Enter(FileHashes(DataFilesOf(models[i])).Take());
    report.source_bytes[i] = BytesOfFiles(models[i]);
  }
  const BundleWriter writer(models[0], models[1], report.options);
  report.figures = writer.Measure();
  CheckRoom(StagedDirectory::PathFor(request.destination), report.figures);
  if (request.dry_run) return report;
  WriteBundle(request, models, writer, staged->path(), report);
  staged->Commit();
  return report;
}

}  // namespace ptq
