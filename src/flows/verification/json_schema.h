// Whether JSON is as a schema says.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace ptq {

/// What of `value` the schema does not allow, each with the place; empty: nothing. Knows the
/// keywords of JSON Schema (draft 2020-12) that the project's own schemas use; throws InternalError
/// for another, so that none is passed over.
[[nodiscard]] std::vector<std::string> SchemaErrors(const nlohmann::ordered_json& schema,
                                                    const nlohmann::ordered_json& value);

}  // namespace ptq
