// Compares where a result goes with what it is made from.
#include "check_destination.h"

#include <string>
#include <system_error>
#include <vector>

#include "ptq/base/confined_path.h"
#include "ptq/base/error.h"
#include "ptq/base/folders.h"
#include "ptq/base/staged_directory.h"
#include "ptq/emit/written_files.h"
#include "ptq/model/model_paths.h"
#include "ptq/pipeline/default_destination.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;

bool HoldsModel(const fs::path& directory) {
  return std::ranges::any_of(EntriesOf(directory),
                             [](const fs::path& entry) { return entry.extension() == ".onnx"; });
}

/// What a run reads, as far as it is known before a model is opened.
std::vector<fs::path> PathsRead(const fs::path& source) {
  std::error_code error;
  if (!fs::is_directory(source, error)) {
    return {source, source.has_parent_path() ? source.parent_path() : fs::path(".")};
  }
  std::vector<fs::path> paths = {source};
  for (const fs::path& directory : {source, source / "onnx"}) {
    if (HoldsModel(directory)) paths.push_back(directory);
    if (fs::exists(directory / "model.onnx", error)) paths.push_back(directory / "model.onnx");
  }
  return paths;
}

void Refuse(const fs::path& destination, const fs::path& source) {
  std::error_code error;
  const bool same = fs::equivalent(destination, source, error) && !error;
  throw OutputError(
      "destination '" + destination.string() + "' " +
      (same ? "is where the source lies" : "holds the source '" + source.string() + "'") +
      ", which is never replaced; choose another --dst");
}

void CheckIsNotRead(const Recipe& recipe, const fs::path& destination) {
  for (const fs::path& path : PathsRead(recipe.source)) {
    if (Contains(destination, path)) Refuse(destination, path);
  }
}

}  // namespace

fs::path DestinationOf(const Recipe& recipe) {
  return recipe.destination.empty() ? DefaultDestination(recipe) : recipe.destination;
}

Replacement ReplacementOf(const Recipe& recipe) { return {recipe.overwrite, WrittenFiles}; }

void CompleteUnfinished(const Recipe& recipe, const fs::path& destination) {
  CheckIsNotRead(recipe, destination);
  StagedDirectory::Recover(destination, ReplacementOf(recipe));
}

void CheckDestination(const Recipe& recipe, const fs::path& destination, Touch touch) {
  if (touch == Touch::kNothing) {
    CheckIsNotRead(recipe, destination);
    return StagedDirectory::Check(destination, ReplacementOf(recipe), /*resume=*/false);
  }
  CompleteUnfinished(recipe, destination);
  (void)Examine(destination, ReplacementOf(recipe));
}

void CheckModelFiles(const Model& model, const fs::path& destination) {
  for (const fs::path& file : PathsOf(model)) {
    if (Contains(destination, file)) Refuse(destination, file);
  }
}

}  // namespace ptq
