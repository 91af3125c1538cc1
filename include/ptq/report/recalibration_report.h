// How far texts have moved from those that a result was made for.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "ptq/flows/recalibration.h"

namespace ptq {

/// The whole, and the sites that have moved most.
[[nodiscard]] std::string DriftText(const RecalibrationReport& report);
/// The whole, and every site.
[[nodiscard]] nlohmann::ordered_json DriftJson(const RecalibrationReport& report);

}  // namespace ptq
