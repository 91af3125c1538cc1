// A recipe carried out, whatever its source and its destination are.
#pragma once

#include <cstdint>
#include <filesystem>
#include <variant>

#include <nlohmann/json_fwd.hpp>

#include "ptq/base/ranks.h"
#include "ptq/pipeline/directory.h"
#include "ptq/pipeline/run.h"
#include "ptq/plan/recipe.h"

namespace ptq {

/// A model, or the models of a directory.
using MadeResult = std::variant<RunReport, DirectoryReport>;

/// Whether the source is a directory of several models, which RunDirectory takes.
[[nodiscard]] bool IsOfSeveral(const Recipe& recipe);

/// Names the one model that the source stands for, and the default destination where there is none.
/// Of several models only checks that they can be written to the destination, and by one rank.
/// Throws UsageError.
void SettlePaths(Recipe& recipe, const Ranks& ranks);

/// Before any work: throws UsageError for gates without a text, or of a figure that the source's
/// kind of model does not have; InputError for a text that is not there.
void CheckGates(const Recipe& recipe);

/// Run, RunToFile or RunDirectory; and until the recipe's gates hold (docs/gates.md) again with
/// more bits for what costs most. With `recipe.no_fallback`, and when nothing is left to
/// fall back, throws GateFailed, and what was at the destination stays.
[[nodiscard]] MadeResult MakeResult(Recipe recipe, const RunOptions& options, Ranks& ranks);

/// The metadata of a result at its destination: a directory or a single file.
[[nodiscard]] nlohmann::ordered_json ReadMetadata(const std::filesystem::path& destination);

}  // namespace ptq
