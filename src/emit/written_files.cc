// Lists what a run wrote, and reads that list.
#include "ptq/emit/written_files.h"

#include <algorithm>
#include <string>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include "ptq/base/confined_path.h"
#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/hash.h"
#include "ptq/base/json.h"
#include "ptq/emit/metadata.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

void Add(const Json& name, int64_t bytes, const std::string& sha256,
         std::vector<WrittenFile>& files) {
  if (!name.is_string()) return;
  try {
    files.push_back({ConfinedName(name.get<std::string>(), "metadata"), bytes, sha256});
  } catch (const InputError&) {
    return;  // no run writes there
  }
}

void AddModel(const std::string& file, std::vector<WrittenFile>& files) {
  for (const char* suffix : {"", ".data", "_data"}) Add(file + suffix, -1, "", files);
}

const Json& EntryOf(const Json& object, const char* key) {
  static const Json kNone;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found == object.end() ? kNone : *found;
}

}  // namespace

std::vector<WrittenFile> DescribeFiles(const fs::path& directory, std::span<const fs::path> names) {
  std::vector<WrittenFile> files;
  for (const fs::path& name : names) {
    std::error_code error;
    const auto bytes = fs::file_size(directory / name, error);
    if (error) continue;
    files.push_back({name, static_cast<int64_t>(bytes), Sha256OfFile(directory / name)});
  }
  return files;
}

void Relist(const fs::path& directory, const fs::path& name, std::vector<WrittenFile>& files) {
  const WrittenFile now = DescribeFiles(directory, std::span(&name, 1)).at(0);
  const auto known = std::ranges::find(files, name, &WrittenFile::name);
  if (known != files.end()) {
    *known = now;
  } else {
    files.push_back(now);
  }
}

Json ToJson(std::span<const WrittenFile> files) {
  Json json = Json::array();
  for (const WrittenFile& file : files) {
    Json entry = {{"file", file.name.generic_string()}, {"bytes", file.bytes}};
    if (!file.sha256.empty()) entry["sha256"] = file.sha256;
    json.push_back(std::move(entry));
  }
  return json;
}

std::optional<std::vector<WrittenFile>> FilesIn(const Json& metadata) {
  const Json::json_pointer tool("/tool/name");
  const bool own = metadata.is_object() && metadata.contains("schema_version") &&
                   metadata.contains(tool) && metadata[tool] == "quantize";
  if (!own) return std::nullopt;
  std::vector<WrittenFile> files;
  if (const Json& listed = EntryOf(metadata, "files"); listed.is_array()) {
    for (const Json& entry : listed) {
      const Json& bytes = EntryOf(entry, "bytes");
      const Json& hash = EntryOf(entry, "sha256");
      Add(EntryOf(entry, "file"), bytes.is_number_integer() ? bytes.get<int64_t>() : -1,
          hash.is_string() ? hash.get<std::string>() : "", files);
    }
    return files;
  }
  for (const Json& name : EntryOf(metadata, "sidecars")) Add(name, -1, "", files);
  AddModel("model.onnx", files);
  for (const Json& model : EntryOf(metadata, "models")) {
    const Json& name = EntryOf(model, "file");
    if (name.is_string()) AddModel(name.get<std::string>(), files);
  }
  return files;
}

std::optional<std::vector<WrittenFile>> WrittenFiles(const fs::path& directory) {
  const fs::path file = directory / kMetadataFileName;
  std::error_code error;
  if (!fs::is_regular_file(fs::symlink_status(file, error))) return std::nullopt;
  auto files = FilesIn(ParseJson<Json>(ReadTextFile(file)));
  // Last, also when they are removed: what is left then can still be told from other files.
  if (files.has_value()) files->push_back({kMetadataFileName});
  return files;
}

}  // namespace ptq
