// Finished models become one result.
#pragma once

#include <filesystem>

#include "directory_models.h"

#include "ptq/pipeline/directory.h"
#include "ptq/plan/recipe.h"

namespace ptq {

/// Where a model is written, complete with its metadata, until all are finished.
[[nodiscard]] std::filesystem::path PartOf(const std::filesystem::path& staged, size_t model);

/// Gives the finished models their places in the staged directory, and writes what stands beside
/// them. Adds sizes and metadata to the report.
void Assemble(DirectoryModels& models, const Recipe& recipe, const std::filesystem::path& staged,
              DirectoryReport& report);

/// Removes what only served to make the result.
void RemoveParts(const std::filesystem::path& staged);

}  // namespace ptq
