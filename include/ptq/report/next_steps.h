// What to do with a result: the command that measures it, and the lines that load it.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "ptq/pipeline/run.h"

namespace ptq {

/// A command (of models that read tokens) and three lines of Python.
[[nodiscard]] std::string NextStepsText(const RunReport& report);
/// `{"command": … or null, "python": [three lines]}`.
[[nodiscard]] nlohmann::ordered_json NextStepsJson(const RunReport& report);

/// The same of a directory of several models, which no single command measures.
[[nodiscard]] std::string NextStepsText(const std::filesystem::path& directory);
[[nodiscard]] nlohmann::ordered_json NextStepsJson(const std::filesystem::path& directory);

}  // namespace ptq
