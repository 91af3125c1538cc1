// What a site's problem must know of its activations: those that are rounded, and how.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "ptq/plan/plan.h"
#include "ptq/quant/method.h"
#include "ptq/runtime/value_edits.h"
#include "ptq/stats/site_statistics.h"

namespace ptq {

/// Whether the file multiplies by the linear's codes in a product of their own: neither gathers
/// matrices nor holds all experts in one node.
[[nodiscard]] bool IsProductOfCodes(const Linear& linear);

/// Channels of the activations that runtimes round together for the linear by themselves; 0: none.
[[nodiscard]] int64_t RoundedBlockOf(const Linear& linear);

/// Tells the problem what is rounded that these linears of a site read: all the same, by their form
/// or by the runtime. `range` takes max |x| of each channel; it and `statistics` outlive the
/// problem.
void AddActivations(const Plan& plan, const std::vector<int>& linears,
                    const SiteStatistics& statistics, std::vector<float>& range,
                    SiteProblem& problem);

/// Has the linear, and the products of constants by its weight, read a rounded activation where its
/// form says so. `levels`: of static ones, where they could be found; `scale`: s[K], or null.
void AddRounding(const Linear& linear, const std::optional<ActivationLevels>& levels,
                 const std::shared_ptr<const std::vector<float>>& scale, ValueEdits& edits);

}  // namespace ptq
