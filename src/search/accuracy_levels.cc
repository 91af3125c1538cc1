// Spends a tenth of the time of all products at level 4 where it buys most.
#include "ptq/search/accuracy_levels.h"

#include <algorithm>

#include "site_activations.h"
#include <fmt/format.h>

#include "ptq/emit/stored_codes.h"
#include "ptq/tensor/block_rounding.h"

namespace ptq {
namespace {

/// More time that all products may take.
constexpr double kMoreTime = 0.1;
/// Of what the weights cost, what the rounding of activations costs at least to count.
constexpr double kLeastPart = 0.001;

/// What a product of one row takes whatever its size, in bits of codes that are read meanwhile.
constexpr double kStartTime = 240e3;

/// Time of a product at level 0, where it takes 1 at level 4. Measured in ONNX Runtime 1.32 with
/// 128 to 2048 channels in groups of 32 and 128, one thread, for one row and for 64 to 256
/// (docs/formats.md).
double TimeAtLevelZero(const Linear& linear, RunKind kind) {
  const int64_t channels = std::min(linear.n, linear.k);
  const bool small_groups = linear.spec().GroupsFor(linear.k) * 32 >= linear.k;
  const int bits = StoredBits(linear.spec().bits);
  if (kind == RunKind::kSteps) return bits == 2 ? 30 : bits == 4 ? 2.5 : 18;
  if (bits == 2) return 1.6;
  if (bits == 4) return channels < 512 ? 1 : small_groups ? 1.1 : 1.3;
  return channels < 256 ? 1 : channels < 512 ? 1.3 : 2;
}

/// A linear whose level is open.
struct Choice {
  size_t linear = 0;
  double gain = 0;  ///< of its output's energy
  double time = 0;  ///< more
};

/// What it takes to read its codes, at level 4.
double TimeOf(const Linear& linear) {
  return double(linear.n) * double(linear.k) * StoredBits(linear.spec().bits);
}

bool HasLevel(const Linear& linear) {
  return IsProductOfCodes(linear) && linear.decision.form->HasAccuracyLevels();
}

bool Matters(const Outcome& outcome) {
  if (!(outcome.energy > 0)) return false;
  const double rounding = outcome.activation_loss.value_or(0);
  return rounding > kLeastPart * std::max(outcome.loss_after - rounding, 0.0);
}

}  // namespace

RunKind RunKindOf(const Graph& graph) {
  const bool steps = std::ranges::any_of(
      graph.graph_inputs(), [&](ValueId id) { return graph.value(id).name.starts_with("past"); });
  return steps ? RunKind::kSteps : RunKind::kWhole;
}

void ChooseAccuracyLevels(const Plan& plan, RunKind kind, std::vector<Outcome>& outcomes) {
  std::vector<Choice> choices;
  double time = 0;
  for (size_t i = 0; i < plan.linears.size(); ++i) {
    const Linear& linear = plan.linears[i];
    if (!HasLevel(linear)) continue;
    outcomes[i].accuracy_level = linear.decision.parameters.FirstLevel();
    if (outcomes[i].accuracy_level != kRoundedLevel) continue;
    const double own = TimeOf(linear);
    time += own + (kind == RunKind::kSteps ? kStartTime : 0);
    const bool open = linear.decision.parameters.accuracy_level == kChosenLevel;
    if (!open || !Matters(outcomes[i])) continue;
    const double more = TimeAtLevelZero(linear, kind) - 1;
    choices.push_back({i, *outcomes[i].activation_loss / outcomes[i].energy, own * more});
  }
  std::ranges::stable_sort(
      choices, [](const Choice& a, const Choice& b) { return a.gain * b.time > b.gain * a.time; });
  double left = kMoreTime * time;
  for (const Choice& choice : choices) {
    if (choice.time > left) continue;
    left -= choice.time;
    outcomes[choice.linear].accuracy_level = 0;
  }
}

std::string AccuracyLevelNote(const Plan& plan, const std::vector<Outcome>& outcomes) {
  int64_t open = 0, exact = 0, costly = 0;
  size_t worst = 0;
  for (size_t i = 0; i < plan.linears.size(); ++i) {
    const Outcome& outcome = outcomes[i];
    if (plan.linears[i].decision.parameters.accuracy_level == kChosenLevel) {
      open += outcome.accuracy_level >= 0 ? 1 : 0;
      exact += outcome.accuracy_level == 0 ? 1 : 0;
      continue;
    }
    if (outcome.accuracy_level != kRoundedLevel || !outcome.activation_loss.has_value()) continue;
    if (!(*outcome.activation_loss > outcome.loss_after)) continue;
    const auto part = [&](size_t linear) {
      return outcomes[linear].RelativeActivationLoss().value_or(0);
    };
    if (costly == 0 || part(i) > part(worst)) worst = i;
    ++costly;
  }
  if (open > 0 && exact == 0) {
    return fmt::format("accuracy level 4 for all {} products: 0 would gain little for its time",
                       open);
  }
  if (open > 0) {
    return fmt::format(
        "accuracy level 0 for {} of {} products, where rounding activations costs most", exact,
        open);
  }
  if (costly == 0) return "";
  return fmt::format(
      "accuracy level 4 rounds activations, which costs more than the rounding of the weights in "
      "{} linears ('{}' {:.2g} % of its output energy, weights {:.2g} %): --accuracy-level auto or "
      "0",
      costly, plan.linears[worst].name, 100 * *outcomes[worst].RelativeActivationLoss(),
      100 * outcomes[worst].RelativeLoss().value_or(0));
}

}  // namespace ptq
