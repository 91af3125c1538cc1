// Shows where the bytes of a result are, and what would make them fewer.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "ptq/pipeline/file_bytes.h"

namespace ptq {

/// A line for each part that is not empty, and one for each advice.
[[nodiscard]] std::string BytesText(const FileBytes& bytes,
                                    const std::vector<Saving>& savings = {});

/// `{"linears": {"before", "after"}, "head": …, "tables": …, "rest": …}`.
[[nodiscard]] nlohmann::ordered_json BytesJson(const FileBytes& bytes);
/// `[{"what", "part_bytes", "option", "bytes"}]`.
[[nodiscard]] nlohmann::ordered_json SavingsJson(const std::vector<Saving>& savings);

}  // namespace ptq
