// Moves the models' files together, and makes one metadata file of theirs.
#include "assemble.h"

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/base/confined_path.h"
#include "ptq/base/file.h"
#include "ptq/base/folders.h"
#include "ptq/base/json.h"
#include "ptq/emit/metadata.h"
#include "ptq/emit/sidecars.h"
#include "ptq/emit/written_files.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// The files of each model, but for its metadata, which goes into that of the directory.
using Lists = std::vector<std::vector<WrittenFile>>;

constexpr char kListFile[] = "assembly.json";

Lists ListFiles(const fs::path& staged, size_t models) {
  Lists lists(models);
  for (size_t i = 0; i < models; ++i) {
    for (const fs::path& name : FilesBelow(PartOf(staged, i))) {
      if (name.filename() == kMetadataFileName) continue;
      lists[i].push_back({name, int64_t(fs::file_size(PartOf(staged, i) / name)), ""});
    }
  }
  return lists;
}

/// As it was before the first file was moved: an assembly that was interrupted is done again.
Lists ListOnce(const fs::path& staged, size_t models) {
  const fs::path file = staged / kListFile;
  if (!fs::exists(file)) {
    Lists lists = ListFiles(staged, models);
    Json json = Json::array();
    for (const auto& files : lists) json.push_back(ToJson(files));
    WriteFileAtomically(file, DumpJson(json) + "\n");
    return lists;
  }
  Lists lists;
  const Json json = ParseJson<Json>(ReadTextFile(file));
  for (const Json& files : json) {
    auto& list = lists.emplace_back();
    for (const Json& entry : files) {
      list.push_back({ConfinedName(entry.at("file").get<std::string>(), file.string()),
                      entry.at("bytes").get<int64_t>(), ""});
    }
  }
  lists.resize(models);
  return lists;
}

int64_t BytesOf(const std::vector<WrittenFile>& files) {
  int64_t bytes = 0;
  for (const WrittenFile& file : files) bytes += file.bytes;
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

/// Those that are not there yet. Adds their names below the result.
void MoveFiles(const fs::path& from, const fs::path& root, const std::vector<WrittenFile>& files,
               std::vector<fs::path>& names) {
  for (const WrittenFile& file : files) {
    names.push_back(file.name);
    MakeFolders((root / file.name).parent_path());
    if (fs::exists(from / file.name)) MoveFile(from / file.name, root / file.name);
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
  const Lists lists = ListOnce(staged, models.size());
  for (size_t i = 0; i < models.size(); ++i) {
    const fs::path from = PartOf(staged, i);
    const Model& model = models.companions().source(i).model;
    for (const std::string& file : model.ExternalFiles()) {
      data_files.push_back(model.DataFile(file));
    }
    report.bytes_before += SourceBytes(model);
    report.bytes.push_back(models.BytesFor(i, BytesOf(lists[i])));
    report.bytes_after += BytesOf(lists[i]);
    const Json own = ParseJson<Json>(ReadTextFile(from / kMetadataFileName));
    files.push_back(models.FilesFor(i, /*copied=*/!own.contains("totals")));
    sources.push_back(model.path());
    parts.push_back(PartMetadata(files.back().model.generic_string(), own));
    MoveFiles(from, staged, lists[i], names);
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

void RemoveParts(const fs::path& staged) {
  for (const char* name : {"models", "common", kListFile}) RemoveAll(staged / name);
}

}  // namespace ptq
