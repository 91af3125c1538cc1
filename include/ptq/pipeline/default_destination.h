// Where a result goes when nobody says so.
#pragma once

#include <filesystem>

#include "ptq/plan/recipe.h"

namespace ptq {

/// `{source}-awq_w4_g128_headfp16` beside the source; in the working directory, named after the
/// repository, for a source in a Hugging Face cache. Throws UsageError where that is in one, too.
[[nodiscard]] std::filesystem::path DefaultDestination(const Recipe& recipe);

}  // namespace ptq
