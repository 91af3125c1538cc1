// A destination that is the name of a model file, "out.onnx", instead of a directory.
#pragma once

#include <filesystem>

#include "ptq/base/ranks.h"
#include "ptq/pipeline/run.h"

namespace ptq {

/// Whether a run is asked for one file: the name ends with ".onnx" and is no directory.
[[nodiscard]] bool IsSingleFile(const std::filesystem::path& destination);

/// The metadata of a model that was written as one file: "out.onnx.json".
[[nodiscard]] std::filesystem::path MetadataOfSingleFile(const std::filesystem::path& file);

/// What follows the file's name, behind a dot in front, in the name of the directory that a run
/// works in: ".out.onnx.result".
inline constexpr char kSingleResultSuffix[] = ".result";

/// That directory: where the run works; its result goes from there to its names.
[[nodiscard]] std::filesystem::path ResultDirectory(const std::filesystem::path& model);

/// Run, with the model as `recipe.destination`, its data and metadata beside it, and no other file.
/// Replaces only what an earlier run wrote under these names, and only with `recipe.overwrite`.
/// The files get their names as PlaceFiles gives them: after a kill, the next run completes that or
/// takes it back. Throws as Run does; UsageError for a layout of folders.
[[nodiscard]] RunReport RunToFile(const Recipe& recipe, const RunOptions& options, Ranks& ranks);

/// RehearseRun for such a destination.
[[nodiscard]] RunReport RehearseToFile(const Recipe& recipe, const RunOptions& options,
                                       Ranks& ranks);

}  // namespace ptq
