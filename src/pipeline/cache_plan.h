// Finds the scales of quantized caches, before the road.
#pragma once

#include <string>

#include "run_context.h"

#include "ptq/calibrate/source.h"
#include "ptq/pipeline/run.h"
#include "ptq/plan/recipe.h"

namespace ptq {

/// What who runs the result must know.
[[nodiscard]] std::string CacheNote(const QuantizedCaches& caches);

/// Notes in the plan how many tokens of samples will be looked at, at most.
void PlanCacheSamples(const Recipe& recipe, Plan& plan);

/// Throws UsageError where a recipe asks for quantized caches of what cannot have them: one of
/// several models, or a layout whose runtime makes empty caches of floats.
void CheckCacheRecipe(const Recipe& recipe, const RunContext& context);

/// Runs the model on samples, and notes in the plan the scales for what its caches hold. Throws
/// UnsupportedError when it cannot run, UsageError when the samples can be read only once, and what
/// ReadSamples and CacheScales throw.
void ObserveCaches(const Source& source, const Recipe& recipe, const RunContext& context,
                   RunReport& report);
/// The same without running anything: throws what is known by then.
void TryObservingCaches(const Source& source, const Recipe& recipe, const RunContext& context,
                        RunReport& report);

}  // namespace ptq
