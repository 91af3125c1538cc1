// Moves the models' files together, and makes one metadata file of theirs.
#include "assemble.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/base/file.h"
#include "ptq/base/json.h"
#include "ptq/emit/metadata.h"
#include "ptq/emit/sidecars.h"
#include "ptq/emit/written_files.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

int64_t BytesOf(const fs::path& directory) {
  int64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    const bool counts = entry.is_regular_file() && entry.path().filename() != kMetadataFileName;
    if (counts) bytes += int64_t(entry.file_size());
  }
  return bytes;
}

/// One model's own metadata within that of the directory.
Json PartMetadata(const std::string& file, Json own) {
  Json part = {{"file", file}};
  for (auto& [key, value] : own.items()) {
    static const std::set<std::string> kOfAll = {"schema_version", "tool",     "recipe",
                                                 "sidecars",       "left_out", "files"};
    if (!kOfAll.contains(key)) part[key] = std::move(value);
  }
  return part;
}

/// All but the metadata, which goes into that of the directory. Adds their names below the result.
void MoveFiles(const fs::path& from, const fs::path& root, std::vector<fs::path>& names) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(from)) {
    if (entry.is_regular_file() && entry.path().filename() != kMetadataFileName) {
      files.push_back(entry.path());
    }
  }
  for (const fs::path& file : files) {
    names.push_back(file.lexically_relative(from));
    const fs::path target = root / names.back();
    fs::create_directories(target.parent_path());
    fs::rename(file, target);
  }
}

}  // namespace

fs::path PartOf(const fs::path& staged, size_t model) {
  return staged / "models" / std::to_string(model);
}

void Assemble(DirectoryModels& models, const Recipe& recipe, const fs::path& staged,
              DirectoryReport& report) {
  Json parts = Json::array();
  std::vector<fs::path> sources, data_files;
  std::vector<OutputFiles> files;
  std::vector<fs::path> names;
  for (size_t i = 0; i < models.size(); ++i) {
    const fs::path from = PartOf(staged, i);
    const Model& model = models.companions().source(i).model;
    for (const std::string& file : model.ExternalFiles()) {
      data_files.push_back(model.DataFile(file));
    }
    report.bytes_before += SourceBytes(model);
    report.bytes.push_back(models.BytesFor(i, BytesOf(from)));
    report.bytes_after += BytesOf(from);
    const Json own = ParseJson<Json>(ReadTextFile(from / kMetadataFileName));
    files.push_back(models.FilesFor(i, /*copied=*/!own.contains("totals")));
    sources.push_back(model.path());
    parts.push_back(PartMetadata(files.back().model.generic_string(), own));
    MoveFiles(from, staged, names);
  }
  const Sidecars sidecars = CopySidecars(models.root(), sources, data_files, staged, files);
  SaySidecars(sidecars);
  names.insert(names.end(), sidecars.copied.begin(), sidecars.copied.end());
  report.metadata = {{"schema_version", kMetadataSchemaVersion},
                     {"tool", ToolJson()},
                     {"recipe", ToJson(recipe)},
                     {"models", std::move(parts)},
                     {"sidecars", sidecars.copied},
                     {"left_out", ToJson(sidecars.left_out)},
                     {"files", ToJson(DescribeFiles(staged, names))}};
  WriteFile(staged / kMetadataFileName, DumpForPeople(report.metadata) + "\n");
}

}  // namespace ptq
