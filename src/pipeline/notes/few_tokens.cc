// Compares the tokens that each linear saw with the number of its inputs.
#include "few_tokens.h"

namespace ptq {
namespace {

/// Tokens for each input of a linear.
constexpr int64_t kEnough = 4;

}  // namespace

std::string FewTokensNote(const Plan& plan, const std::vector<Outcome>& outcomes) {
  int64_t count = 0;
  size_t worst = 0;
  const auto share = [&](size_t i) {
    return double(outcomes[i].tokens) / double(plan.linears[i].k);
  };
  for (size_t i = 0; i < outcomes.size(); ++i) {
    if (outcomes[i].tokens == 0 || share(i) >= double(kEnough)) continue;
    if (count == 0 || share(i) < share(worst)) worst = i;
    ++count;
  }
  if (count == 0) return "";
  const Linear& linear = plan.linears[worst];
  return std::to_string(count) + " linears saw few tokens ('" + linear.name + "' " +
         std::to_string(outcomes[worst].tokens) + " for " + std::to_string(linear.k) +
         " inputs): results get better up to some " + std::to_string(kEnough * linear.k) +
         " (--calib-samples, --seq-len, more text)";
}

}  // namespace ptq
