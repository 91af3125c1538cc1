// Predicts sizes and memory from the plan alone.
#pragma once

#include "ptq/plan/plan.h"
#include "ptq/runtime/executor.h"

namespace ptq {

/// Tokens whose activations are held at once. A fixed number: results must not depend on the
/// machine.
inline constexpr int64_t kMicroBatchTokens = 2048;

/// Bytes of a linear's stored weight and of its result (codes, scales, zero points).
[[nodiscard]] int64_t StoredBytes(const Graph& graph, const Linear& linear);
[[nodiscard]] int64_t ResultBytes(const Linear& linear);

/// Peak resident bytes: program + inline weights + the largest segment's float32 weights, Grams and
/// activations + the cut's activations of `tokens` calibration tokens (0: not calibrated).
[[nodiscard]] int64_t PredictPeakBytes(const Executor& executor, const Plan& plan, int64_t tokens);

/// Bytes of freed memory that calibration keeps for reuse before it gives them back: a part of the
/// model's size, since giving back and asking again costs time, and small models are run in little
/// memory.
[[nodiscard]] int64_t IdleBytes(const Graph& graph, const Plan& plan);

}  // namespace ptq
