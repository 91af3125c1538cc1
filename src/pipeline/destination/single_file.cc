// Runs into a directory of its own, and moves the model and its data out of it.
#include "ptq/pipeline/single_file.h"

#include <algorithm>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/base/destination.h"
#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/json.h"
#include "ptq/base/place_files.h"
#include "ptq/base/staged_directory.h"
#include "ptq/emit/metadata.h"
#include "ptq/emit/written_files.h"
#include "ptq/transform/tensor_store.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

fs::path DataOf(const fs::path& model) { return model.string() + ".data"; }

/// The files that a run may write under a name.
std::vector<fs::path> FilesUnder(const fs::path& model) {
  std::vector<fs::path> files = {DataOf(model), MetadataOfSingleFile(model), model};
  for (size_t i = 1; i < kMostDataFiles; ++i) files.push_back(DataFile(DataOf(model), i));
  return files;
}

bool IsFurtherData(const fs::path& file, const fs::path& model) {
  return file.string().starts_with(DataOf(model).string() + "_");
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

/// The files that stand there, all of them an earlier run's. Throws OutputError when one is not,
/// and is in the way.
std::vector<fs::path> FilesThere(const fs::path& model, const Recipe& recipe) {
  std::error_code error;
  const fs::path metadata_file = MetadataOfSingleFile(model);
  nlohmann::json metadata;
  if (fs::is_regular_file(fs::symlink_status(metadata_file, error))) {
    metadata = ParseJson<nlohmann::json>(ReadTextFile(metadata_file));
  }
  std::vector<fs::path> there;
  for (const fs::path& file : FilesUnder(model)) {
    const bool ours = file == metadata_file ? IsListed(metadata, model) : IsListed(metadata, file);
    if (!ours && recipe.max_file_size == 0 && IsFurtherData(file, model)) continue;  // not written
    CheckOutputFile(file, {recipe.source});
    if (!fs::exists(fs::symlink_status(file, error))) continue;
    if (!ours) {
      throw OutputError("'" + file.string() +
                        "' is not what this program wrote, and is never replaced; choose another "
                        "--dst");
    }
    there.push_back(file.filename());
  }
  return there;
}

/// Completes or takes back what a killed run had begun to move, and removes a result that it had
/// not: the same command makes it again.
void Recover(const fs::path& model) {
  const fs::path directory = ResultDirectory(model);
  StagedDirectory::Recover(directory, {true, WrittenFiles});
  RecoverPlacement(directory, model.parent_path());
  std::vector<fs::path> left;
  for (const WrittenFile& file : WrittenFiles(directory).value_or(std::vector<WrittenFile>())) {
    left.push_back(file.name);
  }
  std::error_code error;
  const fs::path metadata = MetadataOfSingleFile(model).filename();
  if (fs::exists(directory / metadata, error)) {
    for (const fs::path& file : FilesUnder(model)) {
      if (file.filename() != metadata) left.push_back(file.filename());
    }
    left.push_back(metadata);  // last: by it, the others are known
  }
  RemoveFiles(directory, left);
}

/// Leaves the model, its data and its metadata in the result's directory, under their final names.
void Strip(const fs::path& directory, const fs::path& model) {
  const auto written = WrittenFiles(directory).value_or(std::vector<WrittenFile>());
  const std::vector<fs::path> under = FilesUnder(model);
  std::vector<fs::path> others;
  for (const WrittenFile& file : written) {
    const bool goes = file.name == kMetadataFileName || std::ranges::any_of(under, [&](auto& name) {
                        return name.filename() == file.name;
                      });
    if (!goes) others.push_back(file.name);
  }
  RemoveFiles(directory, others);
  RenameToNew(directory / kMetadataFileName, directory / MetadataOfSingleFile(model).filename());
}

fs::path ModelOf(const Recipe& recipe) {
  if (recipe.layout == Layout::kTransformersJs) {
    throw UsageError("--layout transformers.js is a directory's; give a directory as --dst");
  }
  return fs::absolute(recipe.destination).lexically_normal();
}

/// The same run into a directory of its own. `there`: files of an earlier result.
std::pair<Recipe, RunOptions> InDirectory(const Recipe& recipe, const RunOptions& options,
                                          const fs::path& model,
                                          const std::vector<fs::path>& there) {
  std::pair<Recipe, RunOptions> own = {recipe, options};
  own.first.layout = Layout::kFlat;
  own.first.model_name = model.filename().string();
  own.first.destination = ResultDirectory(model);
  if (!there.empty()) own.second.earlier_file = model;
  return own;
}

}  // namespace

bool IsSingleFile(const fs::path& destination) {
  std::error_code error;
  return destination.extension() == ".onnx" && !fs::is_directory(destination, error);
}

fs::path MetadataOfSingleFile(const fs::path& file) { return file.string() + ".json"; }

fs::path ResultDirectory(const fs::path& model) {
  return model.parent_path() / ("." + model.filename().string() + kSingleResultSuffix);
}

RunReport RunToFile(const Recipe& recipe, const RunOptions& options, Ranks& ranks) {
  const fs::path model = ModelOf(recipe);
  if (ranks.is_root()) Recover(model);
  const auto [own, own_options] = InDirectory(recipe, options, model, FilesThere(model, recipe));
  RunReport report = Run(own, own_options, ranks);
  report.destination = report.model_file = recipe.destination;
  if (!ranks.is_root() || report.up_to_date) return report;
  const std::vector<fs::path> replaced = FilesThere(model, recipe);
  if (!replaced.empty() && !recipe.overwrite) {
    throw OutputError("'" + recipe.destination.string() +
                      "' has appeared during the run; give --overwrite to replace it");
  }
  Strip(own.destination, model);
  PlaceFiles(own.destination, model.parent_path(), replaced);
  return report;
}

RunReport RehearseToFile(const Recipe& recipe, const RunOptions& options, Ranks& ranks) {
  const fs::path model = ModelOf(recipe);
  const bool unfinished = IsPlacementUnfinished(ResultDirectory(model));
  const auto [own, own_options] = InDirectory(
      recipe, options, model, unfinished ? std::vector<fs::path>() : FilesThere(model, recipe));
  RunReport report = RehearseRun(own, own_options, ranks);
  report.destination = report.model_file = recipe.destination;
  return report;
}

}  // namespace ptq
