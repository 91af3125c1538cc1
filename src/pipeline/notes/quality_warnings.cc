// Warnings for few bits and large errors.
#include "quality_warnings.h"

#include <algorithm>
#include <cstdio>

namespace ptq {
namespace {

constexpr double kLargeError = 0.1;
constexpr size_t kNamed = 3;

std::string Percent(double share) {
  char text[16];
  (void)std::snprintf(text, sizeof(text), "%.0f %%", 100 * share);
  return text;
}

}  // namespace

std::vector<std::string> WarningsOf(const Plan& plan) {
  const auto count = std::ranges::count_if(plan.linears, [](const Linear& linear) {
    return linear.decision.quantizes() && linear.spec().bits == 2;
  });
  if (count == 0) return {};
  return {std::to_string(count) +
          " linears have 2 bits: most models lose much of their quality; measure it (quantize "
          "eval), and compare with --bits 4"};
}

std::vector<std::string> WarningsOf(const Plan& plan, const std::vector<Outcome>& outcomes) {
  std::vector<std::pair<double, size_t>> large;  // minus the error, so that the worst comes first
  size_t quantized = 0;
  for (size_t i = 0; i < outcomes.size(); ++i) {
    if (!plan.linears[i].decision.quantizes()) continue;
    ++quantized;
    const double error = outcomes[i].energy > 0 ? outcomes[i].loss_after / outcomes[i].energy : 0;
    if (error > kLargeError) large.emplace_back(-error, i);
  }
  if (large.empty()) return {};
  std::ranges::sort(large);
  std::string names;
  for (size_t i = 0; i < std::min(kNamed, large.size()); ++i) {
    names +=
        (i == 0 ? "" : ", ") + plan.linears[large[i].second].name + " " + Percent(-large[i].first);
  }
  return {"the output error passes 10 % in " + std::to_string(large.size()) + " of " +
          std::to_string(quantized) + " linears (worst: " + names +
          "); more bits, smaller groups, or --exclude for these make it less"};
}

}  // namespace ptq
