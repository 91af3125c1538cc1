// What two files of statistics of one model say of its sites.
#pragma once

#include <filesystem>
#include <vector>

#include "ptq/flows/recalibration.h"

namespace ptq {

/// Searches each site of the recipe's plan on both statistics, one site at a time.
[[nodiscard]] std::vector<SiteDrift> CompareStatistics(const Recipe& recipe,
                                                       const std::filesystem::path& before,
                                                       const std::filesystem::path& now);

}  // namespace ptq
