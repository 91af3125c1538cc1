// Which linears compute with the activations as they are, where the runtime would round them.
#pragma once

#include <string>
#include <vector>

#include "ptq/plan/outcome.h"
#include "ptq/plan/plan.h"

namespace ptq {

/// How a model is run, by which the time of its products is judged.
enum class RunKind {
  kSteps,  ///< a token at a time, behind a cache
  kWhole,  ///< many tokens at a time
};

/// Whether the graph is given what it computed of earlier tokens.
[[nodiscard]] RunKind RunKindOf(const Graph& graph);

/// Sets Outcome::accuracy_level of each linear whose product has one: as planned, or, where
/// calibration chooses, 4, but 0 for those where rounding the activations costs most for the time
/// that level 0 takes: as many as take a tenth more time in all. Not where rounding is less than a
/// thousandth of what the weights cost. `outcomes`: of the plan's linears.
void ChooseAccuracyLevels(const Plan& plan, RunKind kind, std::vector<Outcome>& outcomes);

/// A sentence on the levels that were chosen, or on products whose activations' rounding costs more
/// than that of their weights; empty for none of both.
[[nodiscard]] std::string AccuracyLevelNote(const Plan& plan, const std::vector<Outcome>& outcomes);

}  // namespace ptq
