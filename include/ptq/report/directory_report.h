// Shows the plans of a directory's models, and what became of them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ptq/pipeline/directory.h"

namespace ptq {

/// The plan of each model, by file name.
[[nodiscard]] std::string PlansText(const std::vector<std::pair<std::string, RunReport>>& plans);

/// A few lines for the whole, and some for each model: linears, sizes, what it was calibrated with.
[[nodiscard]] std::string DirectoryText(const DirectoryReport& report);

}  // namespace ptq
