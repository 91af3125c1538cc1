// Sections of a report's document that come from what a flow has found.
#pragma once

#include <nlohmann/json.hpp>

namespace ptq {

/// The member `gate` of a document of what the metadata say of gates.
[[nodiscard]] nlohmann::ordered_json GateMembers(const nlohmann::ordered_json& gate);

}  // namespace ptq
