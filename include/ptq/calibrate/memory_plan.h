// Predicts sizes and memory from the plan alone, and fits a run into a budget.
#pragma once

#include <cstdint>

#include "ptq/plan/plan.h"
#include "ptq/plan/recipe.h"
#include "ptq/quant/method.h"
#include "ptq/runtime/executor.h"

namespace ptq {

/// Tokens in one call of an operator. A fixed number: sums are cut at its multiples, and results
/// must not depend on the machine.
inline constexpr int64_t kBlockTokens = 512;

/// Bytes of a stored constant; 0 for kNoValue.
[[nodiscard]] int64_t StoredBytes(const Graph& graph, ValueId id);
/// Of the part of the stored weight that the linear multiplies with.
[[nodiscard]] int64_t StoredBytes(const Graph& graph, const Linear& linear);

/// How a run uses memory. Nothing of it changes the result.
struct MemoryPlan {
  int64_t peak_bytes = 0;          ///< resident, predicted
  int64_t micro_batch_tokens = 0;  ///< whose activations are held at once
  int64_t cut_bytes = 0;           ///< activations on a cut kept in memory; the rest goes to a file
  bool saves_behind = true;        ///< a checkpoint's activations are kept until they are written
  bool lockstep = false;           ///< activations within a segment are kept from site to site
  int64_t idle_bytes = 0;          ///< freed memory kept for reuse: asking again costs time
};

/// What statistics come from (no tokens when they come from a file), and what else a run does.
struct CalibrationSize {
  bool statistics = false;  ///< whether there are any
  int64_t tokens = 0;
  int64_t longest = 0;  ///< sample, in tokens
  Method method;
  bool verifies = false;
  bool widens = false;   ///< the written weights are float32 as a whole when they are verified
  int64_t resident = 0;  ///< bytes of the process before the run
  bool warm = false;     ///< what runs have in common is resident already: an earlier one was here
  int64_t reached = 0;   ///< the most that was resident before, in bytes
};

/// Fills in what the recipe and this process say.
void AddRecipe(const Recipe& recipe, CalibrationSize& size);
/// Counts what reading the samples will leave, where they have not been read.
void AddReading(CalibrationSize& size);

/// The fastest way that fits into `budget` bytes (0: as much as is useful). Throws ResourceError
/// that tells the least that is needed when none does.
[[nodiscard]] MemoryPlan PlanMemory(const Executor& executor, const Plan& plan,
                                    const CalibrationSize& calibration, int64_t budget);

}  // namespace ptq
