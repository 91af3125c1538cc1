// Asks forms how activations are rounded, and hands over ranges and tokens.
#include "site_activations.h"

#include <algorithm>

#include "rounded_activation.h"

namespace ptq {
namespace {

/// What forms round: siblings share what they read.
void AddLevels(const Plan& plan, const std::vector<int>& linears, const SiteStatistics& statistics,
               std::vector<float>& range, SiteProblem& problem) {
  int bits = 0;
  for (const int index : linears) {
    const Decision& decision = plan.linears[size_t(index)].decision;
    const Activations activations = decision.activations();
    if (activations == Activations::kFloat) continue;
    bits = std::max(bits, activations == Activations::kStatic ? decision.parameters.activation_bits
                                                              : ActivationLevels().bits);
    if (activations == Activations::kStatic) problem.activations.finds_levels = true;
  }
  if (bits == 0) return;
  problem.activations.levels = 1 << bits;
  problem.activations.lowest = statistics.lowest();
  problem.activations.highest = statistics.highest();
  range = LargestMagnitudes(problem.activations.lowest, problem.activations.highest);
  problem.max_abs = range;
  if (problem.activations.finds_levels) problem.activations.sample = statistics.sample().rows();
}

/// What runtimes round by themselves; it counts where its cost decides.
void AddBlocks(const Plan& plan, const std::vector<int>& linears, const SiteStatistics& statistics,
               SiteProblem& problem) {
  if (problem.activations.levels > 0 || statistics.sample().count() == 0) return;
  problem.activations.counts = false;
  for (const int index : linears) {
    const Linear& linear = plan.linears[size_t(index)];
    problem.activations.block = std::max(problem.activations.block, RoundedBlockOf(linear));
    if (linear.decision.parameters.accuracy_level == kChosenLevel) {
      problem.activations.counts = true;
    }
  }
  if (problem.activations.block > 0) problem.activations.sample = statistics.sample().rows();
}

}  // namespace

bool IsProductOfCodes(const Linear& linear) {
  return linear.gather < 0 && !linear.IsExpert() && linear.decision.quantizes();
}

int64_t RoundedBlockOf(const Linear& linear) {
  if (!IsProductOfCodes(linear)) return 0;
  return linear.decision.form->RoundedBlock(linear.decision.parameters, linear.k);
}

void AddActivations(const Plan& plan, const std::vector<int>& linears,
                    const SiteStatistics& statistics, std::vector<float>& range,
                    SiteProblem& problem) {
  AddLevels(plan, linears, statistics, range, problem);
  AddBlocks(plan, linears, statistics, problem);
}

void AddRounding(const Linear& linear, const std::optional<ActivationLevels>& levels,
                 const std::shared_ptr<const std::vector<float>>& scale, ValueEdits& edits) {
  const Activations activations = linear.decision.activations();
  if (activations == Activations::kFloat) return;
  if (activations == Activations::kStatic && !levels.has_value()) return;
  const auto rounding = std::make_shared<RoundedActivation>(scale, levels);
  edits.first_inputs[linear.node] = rounding;
  for (const ConstantProduct& product : linear.constant_products) {
    edits.first_inputs[product.node] = rounding;
  }
}

}  // namespace ptq
