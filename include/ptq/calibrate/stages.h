// In which steps samples go through the model: where they stop, and what is quantized there.
#pragma once

#include <map>
#include <vector>

#include "ptq/plan/plan.h"
#include "ptq/runtime/execution_plan.h"

namespace ptq {

/// An activation to observe and its width K.
using Taps = std::map<ValueId, int64_t>;

/// All samples through some steps of a segment. It begins where the last stage that advances ended.
struct Stage {
  Segment range;              ///< its steps; what is live is not filled in
  Taps taps;                  ///< observed
  std::vector<size_t> sites;  ///< indices into Plan::sites, quantized behind it
  bool advances = true;       ///< what later stages need of it replaces what it started from
  bool inner = false;         ///< it ends within a segment: nothing may be rounded there
};
/// Of each segment.
using Stages = std::vector<std::vector<Stage>>;

/// How a segment is divided.
enum class Division {
  kWhole,     ///< one stage, which observes all sites
  kLockstep,  ///< a stage for each site, so that it sees what the quantized linears before it give
  kRerun,     ///< the same, each from the segment's beginning: nothing within it is kept
};

/// `taken[i]`: site i of the plan needs no statistics. With several stages the last has no sites:
/// it leads to the next segment. Sites in a body of a Loop or Scan share a stage.
[[nodiscard]] Stages DivideIntoStages(const ExecutionPlan& execution, const Plan& plan,
                                      const std::vector<bool>& taken, Division division);

}  // namespace ptq
