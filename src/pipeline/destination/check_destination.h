// Keeps the source from being replaced by its own result.
#pragma once

#include <filesystem>

#include "ptq/base/destination.h"
#include "ptq/model/model.h"
#include "ptq/plan/recipe.h"

namespace ptq {

/// The one that is asked for, or the default.
[[nodiscard]] std::filesystem::path DestinationOf(const Recipe& recipe);

/// What a run may replace: what an earlier one wrote, with --overwrite.
[[nodiscard]] Replacement ReplacementOf(const Recipe& recipe);

/// Whether a check changes nothing at all, or completes a result that a killed run was giving its
/// place.
enum class Touch { kNothing, kUnfinished };

/// Completes or takes back what a killed run was doing when it gave a result its place. Throws
/// OutputError when the destination holds the source.
void CompleteUnfinished(const Recipe& recipe, const std::filesystem::path& destination);

/// For before any work: throws OutputError when the destination holds the source, is the source's
/// directory, or may not be given a result (Examine; StagedDirectory::Check when nothing is
/// touched).
void CheckDestination(const Recipe& recipe, const std::filesystem::path& destination, Touch touch);

/// The same for the files that a model turns out to have, which may be links into the destination.
void CheckModelFiles(const Model& model, const std::filesystem::path& destination);

}  // namespace ptq
