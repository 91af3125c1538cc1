// The list of a directory's results: what each id stands for, for whoever serves or ships them.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace ptq {

inline constexpr char kRegistryFileName[] = "registry.json";

/// Enters the result in `directory`/`id`, by its metadata: `models` maps the id to its file, the
/// base model, method, bits, size and hashes (docs/batch.md). Takes an earlier failure of that id
/// out. Several processes may do so at once. Throws OutputError, InputError for a result without
/// metadata.
void EnterResult(const std::filesystem::path& directory, const std::string& id,
                 const std::string& base, const std::string& recipe);

/// Enters under `failures` why there is no (new) result. An earlier result stays listed.
void EnterFailure(const std::filesystem::path& directory, const std::string& id, int status,
                  const std::string& message);

/// The registry as it is; one without entries when there is none. Throws InputError when the file
/// is not one.
[[nodiscard]] nlohmann::ordered_json ReadRegistry(const std::filesystem::path& directory);

}  // namespace ptq
