// What an interrupted run had found out about gates, so that the same command goes on from there.
#pragma once

#include <vector>

#include "ptq/plan/recipe.h"

namespace ptq {

/// The fallback of the run that has left a checkpoint beside the recipe's destination; empty when
/// there is none, or it had none.
[[nodiscard]] std::vector<Rule> FallbackOfInterrupted(const Recipe& recipe);

}  // namespace ptq
