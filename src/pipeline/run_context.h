// What a run knows besides the recipe: how a model's inputs are made, and what it shares.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "ptq/calibrate/feed_samples.h"
#include "ptq/calibrate/model_inputs.h"
#include "ptq/calibrate/source.h"
#include "ptq/emit/layout.h"
#include "ptq/pipeline/run.h"
#include "ptq/runtime/feeds.h"
#include "ptq/search/common_weights.h"

namespace ptq {

struct RunContext {
  ModelInputs inputs;
  // Of a model that is one of several in a directory:
  bool is_part = false;             ///< it keeps its name; somebody else copies sidecar files
  OneOfSeveral others;              ///< what it has in common with them
  std::filesystem::path folder;     ///< below the directory's root
  std::string name;                 ///< what rules call it: its path there, without .onnx
  std::vector<std::string> models;  ///< and all of them
};

/// The plan and the sizes, before any work.
[[nodiscard]] RunReport StartReport(const Source& source, const Recipe& recipe,
                                    const RunContext& context);
/// The most that a run is expected to hold, in bytes, before any sample is read: of as many tokens
/// as the recipe allows. Throws ResourceError when that is over its budget.
[[nodiscard]] int64_t PredictPeak(const Source& source, const Recipe& recipe, const Plan& plan);
/// Throws UsageError where several ranks would have to go on with what one has left.
void CheckRanks(const Recipe& recipe, const RunOptions& options, const Ranks& ranks);
/// Whether a product's weights are of 16 bits.
[[nodiscard]] bool HasHalfLinears(const Plan& plan);
/// Where the written model lies in the output directory.
[[nodiscard]] OutputFiles FilesOf(const Recipe& recipe, const Source& source, const Plan& plan,
                                  const RunContext& context);
/// Where a run may keep what does not fit into memory: the destination's parent, or the nearest
/// directory above that exists.
[[nodiscard]] std::filesystem::path ScratchOf(const RunReport& report);
/// Why the model cannot be run; empty when it can.
[[nodiscard]] std::string WhyNotRun(const Source& source);
/// The whole road behind reading the model.
void Travel(const Recipe& recipe, Source& source, Ranks& ranks, RunReport& report,
            const RunOptions& options, const RunContext& context);

}  // namespace ptq
