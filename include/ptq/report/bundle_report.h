// What was bundled, as text and as JSON.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "ptq/flows/bundle.h"

namespace ptq {

[[nodiscard]] std::string BundleText(const BundleReport& report, bool dry_run);
[[nodiscard]] nlohmann::ordered_json BundleJson(const BundleReport& report, bool dry_run);

}  // namespace ptq
