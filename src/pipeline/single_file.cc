// Runs into a directory of its own, and moves the model and its data out of it.
#include "ptq/pipeline/single_file.h"

#include <array>
#include <string>
#include <system_error>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/base/destination.h"
#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/emit/metadata.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

/// The files that a run writes under a name: data and metadata first, the model at the end.
std::array<fs::path, 3> FilesUnder(const fs::path& model) {
  return {model.string() + ".data", MetadataOfSingleFile(model), model};
}

/// Whether the metadata beside a model lists a file with the size that it has.
bool IsListed(const nlohmann::json& metadata, const fs::path& file) {
  std::error_code error;
  if (!metadata.is_object() || !metadata.contains("files")) return false;
  for (const auto& entry : metadata["files"]) {
    if (!entry.is_object() || entry.value("file", "") != file.filename().string()) continue;
    return entry.value("bytes", int64_t(-1)) == int64_t(fs::file_size(file, error)) && !error;
  }
  return false;
}

/// Refuses to replace what no run wrote.
void CheckFiles(const fs::path& model, const Recipe& recipe) {
  std::error_code error;
  const fs::path metadata_file = MetadataOfSingleFile(model);
  nlohmann::json metadata;
  if (fs::is_regular_file(fs::symlink_status(metadata_file, error))) {
    metadata = nlohmann::json::parse(ReadTextFile(metadata_file), nullptr, false);
  }
  for (const fs::path& file : FilesUnder(model)) {
    CheckOutputFile(file, {recipe.source});
    if (!fs::exists(fs::symlink_status(file, error))) continue;
    const bool ours = file == metadata_file ? IsListed(metadata, model) : IsListed(metadata, file);
    if (!ours) {
      throw OutputError("'" + file.string() +
                        "' is not what this program wrote, and is never replaced; choose another "
                        "--dst");
    }
    if (!recipe.overwrite) {
      throw OutputError("'" + file.string() +
                        "' exists already; choose another --dst or give --overwrite");
    }
  }
}

}  // namespace

bool IsSingleFile(const fs::path& destination) {
  std::error_code error;
  return destination.extension() == ".onnx" && !fs::is_directory(destination, error);
}

fs::path MetadataOfSingleFile(const fs::path& file) { return file.string() + ".json"; }

RunReport RunToFile(const Recipe& recipe, const RunOptions& options, Ranks& ranks) {
  if (recipe.layout == Layout::kTransformersJs) {
    throw UsageError("--layout transformers.js is a directory's; give a directory as --dst");
  }
  const fs::path model = fs::absolute(recipe.destination).lexically_normal();
  CheckFiles(model, recipe);
  Recipe own = recipe;
  own.model_name = model.filename().string();
  own.destination = model.parent_path() / ("." + own.model_name + ".result");
  own.overwrite = true;
  RunReport report = Run(own, options, ranks);
  report.destination = report.model_file = recipe.destination;
  if (!ranks.is_root()) return report;
  CheckFiles(model, recipe);
  std::error_code error;
  // Nobody shall read the old model with the new data.
  for (const fs::path& file : FilesUnder(model)) fs::remove(file, error);
  for (const fs::path& file : FilesUnder(model)) {
    const bool metadata = file == MetadataOfSingleFile(model);
    const fs::path from =
        own.destination / (metadata ? fs::path(kMetadataFileName) : file.filename());
    if (!fs::exists(from, error)) continue;
    fs::rename(from, file, error);
    if (error) {
      throw OutputError("cannot write '" + file.string() + "': " + error.message() +
                        "; the result is in '" + own.destination.string() + "'");
    }
  }
  fs::remove_all(own.destination, error);
  return report;
}

}  // namespace ptq
