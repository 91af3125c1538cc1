// What commands print with --json: one object, for errors, too (docs/json-output.md).
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "ptq/base/error.h"
#include "ptq/model/model.h"

namespace ptq {

/// Version of what commands print; the first number changes when a reader must change.
inline constexpr char kOutputSchemaVersion[] = "1.0";

/// Prints schema_version, tool, command, and then the body's keys.
void PrintJson(std::string_view command, const nlohmann::ordered_json& body);

/// The model of a command, as the metadata has it under `source`: files, hash, opsets. Throws
/// InputError.
[[nodiscard]] nlohmann::ordered_json SourceJson(const Model& model);
[[nodiscard]] nlohmann::ordered_json SourceJson(const std::filesystem::path& model);

/// An error's message, "what 'where' ...; hint", taken apart. `where` is the option or the quoted
/// name that it is about, `hint` what to do; null where the message says none.
[[nodiscard]] nlohmann::ordered_json ErrorJson(ExitCode code, std::string_view message);

}  // namespace ptq
