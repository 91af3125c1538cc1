// The road: read, plan, calibrate, quantize, write, verify.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "ptq/base/destination.h"
#include "ptq/base/ranks.h"
#include "ptq/calibrate/timings.h"
#include "ptq/emit/file_sizes.h"
#include "ptq/pipeline/file_bytes.h"
#include "ptq/plan/gate.h"
#include "ptq/plan/outcome.h"
#include "ptq/plan/plan.h"
#include "ptq/plan/recipe.h"
#include "ptq/text/calibration.h"

namespace ptq {

/// How the written model compares with what the executor expects of it.
struct Verification {
  bool done = false;
  std::string note;         ///< why not
  double max_relative = 0;  ///< max |Δ| ÷ max |expected| over the outputs
  double tolerance = 0;
};

struct RunReport {
  /// The result was there already: nothing was done, and of what follows only the plan, the
  /// destination and the sizes are known.
  bool up_to_date = false;
  Plan plan;
  std::vector<Outcome> outcomes;   ///< by index into plan.linears
  std::vector<Outcome> tables;     ///< by index into plan.tables
  std::vector<Outcome> constants;  ///< by index into plan.constants
  std::filesystem::path source;
  std::filesystem::path destination;
  std::filesystem::path model_file;  ///< the .onnx file, in the destination
  bool reads_tokens = false;         ///< of one sequence, from which `eval` can judge the model
  int64_t bytes_before = 0;
  int64_t bytes_after = 0;
  FileSizes predicted;       ///< of the model's files, without what calibration may add
  FileSizes predicted_most;  ///< and with all of it: scales behind a Mul of their own, new biases
  std::vector<WrittenFile> predicted_files;  ///< those of `predicted`, the .onnx file first
  int64_t predicted_peak_bytes = 0;
  int64_t peak_bytes = 0;  ///< resident, of the rank that needed most
  int ranks = 1;
  int64_t samples = 0;
  int64_t tokens = 0;
  std::optional<CalibrationProvenance> cache_samples;  ///< those that told the caches' scales
  size_t resumed_segments = 0;                         ///< taken over from an interrupted run
  Timings timings;
  Verification verification;
  std::optional<GateReport> gate;          ///< of a recipe with gates
  FileBytes bytes;                         ///< of a plan: predicted
  std::vector<Saving> savings;             ///< the largest first
  std::map<std::string, int64_t> islands;  ///< nodes that compute in FP32 in an FP16 graph, by why
  std::vector<std::string> notes;          ///< what a reader should know, one sentence each
  std::vector<std::string> warnings;       ///< what makes a bad result likely, one sentence each
};

/// Makes the plan and predicts sizes and memory, wherever a result would go; writes nothing.
[[nodiscard]] RunReport PlanRun(const Recipe& recipe);

/// How a run deals with being interrupted; the result does not depend on it.
struct RunOptions {
  /// What an interrupted run of the same recipe, source and samples left is gone on with in any
  /// case; `resume` says that there should be something.
  bool resume = false;
  bool restart = false;  ///< what it left is given up
  bool force = false;    ///< a result that is up to date is made again
  /// The model file of an earlier result that lies elsewhere than in the destination
  /// (single_file.h); empty when there is none.
  std::filesystem::path earlier_file = {};
  /// A finished segment becomes a checkpoint when so much time has passed since the last one. A
  /// result that took less, and replaces nothing, is left to the system to bring to the disk.
  double checkpoint_seconds = 2;
  /// Looks at the written and verified model (its directory, of several) and its metadata before it
  /// gets its final name, and may throw QualityError: then nothing is written.
  std::function<GateReport(const std::filesystem::path& result,
                           const nlohmann::ordered_json& metadata)>
      judge = {};
  /// The name of a model card among the result's files, empty for none, and what it says of the
  /// complete result. A result without it is not up to date.
  std::string card = {};
  std::function<std::string(const std::filesystem::path& result,
                            const nlohmann::ordered_json& metadata)>
      write_card = {};
};

/// A run without its work (--dry-run): the plan, and the error that the run would begin with, if
/// any. Looks at the destination, reads samples or statistics, and every weight that is to be
/// quantized; changes nothing. What only running the model tells (an operator that fails, a result
/// that verification refuses) is not known.
[[nodiscard]] RunReport RehearseRun(const Recipe& recipe, const RunOptions& options, Ranks& ranks);

/// The whole road. The destination appears complete, or not at all; where it holds the result of
/// the same recipe, source and samples already, nothing is done (unless `options.force`).
/// Checkpoints lie beside the destination, where an interrupted run leaves them; a resumed run
/// gives the same bytes as one that was not interrupted. Throws UsageError when the recipe, the
/// source or the samples have changed since (unless `options.restart`).
[[nodiscard]] RunReport Run(const Recipe& recipe, const RunOptions& options = {});

/// The same by several ranks, which divide the samples and the search. Rank 0 writes the result,
/// and it alone has the whole report. More than one keep no checkpoints: throws UsageError for
/// `options.resume`, and where there is one.
[[nodiscard]] RunReport Run(const Recipe& recipe, const RunOptions& options, Ranks& ranks);

}  // namespace ptq
