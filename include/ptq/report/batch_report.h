// What became of the jobs of a batch, for people and for machines.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "ptq/flows/batch.h"

namespace ptq {

/// A line for each job, and a summary.
[[nodiscard]] std::string BatchText(const BatchReport& report);
[[nodiscard]] nlohmann::ordered_json BatchJson(const BatchReport& report);

}  // namespace ptq
