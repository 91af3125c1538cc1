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
#include "ptq/base/json.h"
#include "ptq/emit/metadata.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// The metadata when it is that of a run.
std::optional<Json> ReadOwnMetadata(const fs::path& directory) {
  const fs::path file = directory / kMetadataFileName;
  std::error_code error;
  if (!fs::is_regular_file(fs::symlink_status(file, error))) return std::nullopt;
  Json metadata = ParseJson<Json>(ReadTextFile(file));
  const Json::json_pointer tool("/tool/name");
  const bool own = metadata.is_object() && metadata.contains("schema_version") &&
                   metadata.contains(tool) && metadata[tool] == "quantize";
  return own ? std::optional(std::move(metadata)) : std::nullopt;
}

void Add(const Json& name, int64_t bytes, std::vector<WrittenFile>& files) {
  if (!name.is_string()) return;
  try {
    files.push_back({ConfinedName(name.get<std::string>(), "metadata"), bytes});
  } catch (const InputError&) {
    return;  // no run writes there
  }
}

void AddModel(const std::string& file, std::vector<WrittenFile>& files) {
  for (const char* suffix : {"", ".data", "_data"}) Add(file + suffix, -1, files);
}

const Json& EntryOf(const Json& object, const char* key) {
  static const Json kNone;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found == object.end() ? kNone : *found;
}

}  // namespace

std::vector<WrittenFile> SizesOf(const fs::path& directory, std::span<const fs::path> names) {
  std::vector<WrittenFile> files;
  for (const fs::path& name : names) {
    std::error_code error;
    const auto bytes = fs::file_size(directory / name, error);
    if (!error) files.push_back({name, static_cast<int64_t>(bytes)});
  }
  return files;
}

void Relist(const fs::path& directory, const fs::path& name, std::vector<WrittenFile>& files) {
  const WrittenFile now = SizesOf(directory, std::span(&name, 1)).at(0);
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
    json.push_back({{"file", file.name.generic_string()}, {"bytes", file.bytes}});
  }
  return json;
}

std::optional<std::vector<WrittenFile>> WrittenFiles(const fs::path& directory) {
  const auto metadata = ReadOwnMetadata(directory);
  if (!metadata.has_value()) return std::nullopt;
  std::vector<WrittenFile> files = {{kMetadataFileName}};
  if (const Json& listed = EntryOf(*metadata, "files"); listed.is_array()) {
    for (const Json& entry : listed) {
      const Json& bytes = EntryOf(entry, "bytes");
      Add(EntryOf(entry, "file"), bytes.is_number_integer() ? bytes.get<int64_t>() : -1, files);
    }
    return files;
  }
  for (const Json& name : EntryOf(*metadata, "sidecars")) Add(name, -1, files);
  AddModel("model.onnx", files);
  for (const Json& model : EntryOf(*metadata, "models")) {
    const Json& name = EntryOf(model, "file");
    if (name.is_string()) AddModel(name.get<std::string>(), files);
  }
  return files;
}

}  // namespace ptq
