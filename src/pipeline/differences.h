// What has changed between two descriptions of a run, for people.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace ptq {

/// The members that differ, one text each: `recipe.bits: 4 -> 8`, `source.model.onnx.sha256:
/// "0f3a98c1b2d4..." -> "77e0..."`. Objects are compared member by member, below `prefix`.
[[nodiscard]] std::vector<std::string> Differences(const nlohmann::ordered_json& before,
                                                   const nlohmann::ordered_json& now,
                                                   const std::string& prefix = "");

/// The first few in one line, and how many more there are.
[[nodiscard]] std::string Listed(const std::vector<std::string>& differences);

/// Throws UsageError that names what has changed when a file, which an interrupted run has left,
/// holds another identity than that of the run which would go on. `interrupted`: that run, for
/// people.
void CheckIdentity(const std::filesystem::path& file, const nlohmann::ordered_json& identity,
                   const std::string& interrupted);

}  // namespace ptq
