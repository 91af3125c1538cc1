// What quantize verify found, for people and for programs.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "ptq/flows/verification.h"

namespace ptq {

/// A line for each check, and one for each of its problems.
[[nodiscard]] std::string VerificationText(const VerificationReport& report);
[[nodiscard]] nlohmann::ordered_json VerificationJson(const VerificationReport& report);

}  // namespace ptq
