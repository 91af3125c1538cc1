// The road: read, plan, calibrate, quantize, write, verify.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ptq/pipeline/recipe.h"
#include "ptq/pipeline/timings.h"
#include "ptq/plan/plan.h"

namespace ptq {

/// What became of one linear.
struct LinearOutcome {
  double loss_rtn = 0;  ///< tr(ΔHΔᵀ) of round-to-nearest; ‖Δ‖² without calibration
  double loss = 0;      ///< the same of what was written
  double energy = 0;    ///< tr(WHWᵀ) or ‖W‖²: losses relative to it are comparable
  std::string scaling = "none";
  double alpha = 0;
  std::string fold;    ///< where 1/s went: "gain", "rows", "mul"; empty when not scaled
  int64_t tokens = 0;  ///< calibration tokens seen at its site
  int64_t bytes_before = 0;
  int64_t bytes_after = 0;
};

/// How the written model compares with what the executor expects of it.
struct Verification {
  bool done = false;
  std::string note;         ///< why not
  double max_relative = 0;  ///< max |Δ| ÷ max |expected| over the outputs
  double tolerance = 0;
};

struct RunReport {
  Plan plan;
  std::vector<LinearOutcome> outcomes;  ///< by index into plan.linears
  std::filesystem::path destination;
  int64_t bytes_before = 0;
  int64_t bytes_after = 0;
  int64_t predicted_peak_bytes = 0;
  int64_t samples = 0;
  int64_t tokens = 0;
  Timings timings;
  Verification verification;
};

/// Makes the plan and predicts sizes and memory; writes nothing (--dry-run).
[[nodiscard]] RunReport PlanRun(const Recipe& recipe);

/// The whole road. The destination appears complete, or not at all. Each finished segment is a
/// checkpoint beside the destination, which an interrupted run leaves there; `resume` goes on after
/// it, or starts when there is none, and gives the same bytes as a run that was not interrupted.
/// Throws UsageError when the recipe, the source or the samples have changed since.
[[nodiscard]] RunReport Run(const Recipe& recipe, bool resume = false);

}  // namespace ptq
