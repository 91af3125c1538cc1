// Makes entries from the metadata of results, one process at a time.
#include "ptq/flows/registry.h"

#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <unistd.h>

#include "ptq/base/error.h"
#include "ptq/base/file.h"
#include "ptq/base/hash.h"
#include "ptq/base/json.h"
#include "ptq/emit/metadata.h"

namespace ptq {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr char kRegistryVersion[] = "1.0";
constexpr char kLockFile[] = ".registry.lock";

/// Held by one process at a time; the system gives it back when that ends in whatever way.
class RegistryLock {
 public:
  explicit RegistryLock(const fs::path& directory)
      : file_(::open((directory / kLockFile).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    if (file_ < 0) {
      throw OutputError("cannot write '" + (directory / kLockFile).string() +
                        "': " + std::generic_category().message(errno));
    }
    while (::flock(file_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  ~RegistryLock() { ::close(file_); }
  RegistryLock(const RegistryLock&) = delete;
  RegistryLock& operator=(const RegistryLock&) = delete;

 private:
  int file_;
};

/// Each file of a model with its size and hash; of sidecar files, only the models' own are listed.
Json ModelFilesJson(const fs::path& result, const Json& metadata) {
  Json files = Json::array();
  const Json sidecars = MemberOrNull(metadata, "sidecars");
  for (const Json& file : MemberOrNull(metadata, "files")) {
    const auto name = file.at("file").get<std::string>();
    if (std::ranges::find(sidecars, Json(name)) != sidecars.end()) continue;
    files.push_back({{"file", (result.filename() / name).generic_string()},
                     {"bytes", file.at("bytes")},
                     {"sha256", Sha256OfFile(result / name)}});
  }
  return files;
}

/// What was read: of several models the first stands for all.
Json SourceOf(const Json& metadata) {
  const Json source = metadata.contains("models") ? MemberOrNull(metadata["models"].at(0), "source")
                                                  : MemberOrNull(metadata, "source");
  return {{"file", MemberOrNull(source, "file")}, {"sha256", MemberOrNull(source, "sha256")}};
}

Json Entry(const fs::path& result, const std::string& base, const std::string& recipe) {
  const auto metadata = ParseJson<Json>(ReadTextFile(result / kMetadataFileName));
  if (!metadata.is_object() || !metadata.contains("recipe")) {
    throw InputError("'" + (result / kMetadataFileName).string() + "' is no metadata of a result");
  }
  const Json files = ModelFilesJson(result, metadata);
  int64_t bytes = 0;
  Json model = nullptr;
  for (const Json& file : files) {
    bytes += file.at("bytes").get<int64_t>();
    const auto name = file.at("file").get<std::string>();
    if (model.is_null() && name.ends_with(".onnx")) model = name;
  }
  const Json& made = metadata.at("recipe");
  return {{"file", model},
          {"base_model", base},
          {"recipe", recipe.empty() ? Json(nullptr) : Json(recipe)},
          {"method", MemberOrNull(made, "method")},
          {"bits", MemberOrNull(made, "bits")},
          {"group_size", MemberOrNull(made, "group_size")},
          {"lm_head", MemberOrNull(made, "lm_head")},
          {"bytes", bytes},
          {"files", files},
          {"source", SourceOf(metadata)},
          {"tool", metadata.at("tool")}};
}

/// `change` may set and erase entries.
template <class Change>
void Alter(const fs::path& directory, const Change& change) {
  const RegistryLock lock(directory);
  Json registry = ReadRegistry(directory);
  change(registry);
  WriteFileAtomically(directory / kRegistryFileName, DumpJson(registry, 2) + "\n");
}

}  // namespace

Json ReadRegistry(const fs::path& directory) {
  const fs::path file = directory / kRegistryFileName;
  std::error_code error;
  if (!fs::exists(file, error)) {
    return {{"schema_version", kRegistryVersion},
            {"models", Json::object()},
            {"failures", Json::object()}};
  }
  auto registry = ParseJson<Json>(ReadTextFile(file));
  if (!registry.is_object() || !MemberOrNull(registry, "models").is_object() ||
      !MemberOrNull(registry, "failures").is_object()) {
    throw InputError("'" + file.string() + "' is no registry of results; move it away");
  }
  return registry;
}

void EnterResult(const fs::path& directory, const std::string& id, const std::string& base,
                 const std::string& recipe) {
  const Json entry = Entry(directory / id, base, recipe);  // hashes files: not under the lock
  Alter(directory, [&](Json& registry) {
    registry["models"][id] = entry;
    registry["failures"].erase(id);
  });
}

void EnterFailure(const fs::path& directory, const std::string& id, int status,
                  const std::string& message) {
  Alter(directory, [&](Json& registry) {
    registry["failures"][id] = {{"status", status}, {"message", message}};
  });
}

}  // namespace ptq
