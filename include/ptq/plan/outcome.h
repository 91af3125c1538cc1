// What became of a tensor: one record, and one table of its fields for all who store or show it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "ptq/quant/method.h"
#include "ptq/tensor/activation_levels.h"

namespace ptq {

/// A channel of an activation, and its mean |x|.
struct SalientChannel {
  int64_t channel = 0;
  double mean_abs = 0;
  bool operator==(const SalientChannel&) const = default;
};

/// What calibration has seen at a site, and what was tried there.
struct SiteOutcome {
  int64_t channels = 0;
  std::vector<double> mean_abs;     ///< mean |x|: the largest of each of up to 64 runs of channels
  double median = 0;                ///< of the channels' mean |x|
  std::vector<SalientChannel> top;  ///< up to 8 channels, the largest first
  std::vector<ScalingTrial> trials;
  bool operator==(const SiteOutcome&) const = default;
};
/// `mean_abs`: of each channel, [K].
[[nodiscard]] SiteOutcome SiteOutcomeOf(std::span<const float> mean_abs,
                                        std::vector<ScalingTrial> trials);

struct Outcome {
  std::string scaling = "none";
  std::optional<double> alpha;  ///< of the scaling, where there is one
  std::string fold = "none";    ///< where 1/s went: "gain", "rows", "mul"
  bool bias_corrected = false;
  double loss_before = 0;  ///< tr(ΔHΔᵀ) of round-to-nearest; ‖Δ‖² without calibration
  double loss_after = 0;   ///< the same of what was written
  double energy = 0;       ///< tr(WHWᵀ) or ‖W‖²: losses relative to it are comparable
  int64_t tokens = 0;      ///< calibration tokens seen at its site
  /// Of activations whose levels are found beforehand: the distance of two, the code of 0, and the
  /// bits of a code.
  std::optional<double> activation_scale;
  int64_t activation_zero_point = 0;
  int64_t activation_bits = 8;
  /// What runtimes lose, besides, by rounding the activations of a product of codes; nothing where
  /// they do not, or nothing is known of them. In `loss_after` only where levels are chosen.
  std::optional<double> activation_loss;
  int64_t accuracy_level = -1;  ///< of MatMulNBits; -1: another form
  /// Where `loss_after` comes from: what the codes cost without rounded activations, and what those
  /// would that are nearest on the same grid; absent where a weight was not searched.
  std::optional<double> weight_loss;
  std::optional<double> nearest_loss;
  std::optional<double> propagation_loss;  ///< LinearResult::propagation_loss
  std::optional<SiteOutcome> site;         ///< of the first of a site's linears
  std::string note;  ///< why it was rounded to nearest where the method would do more
  int64_t bytes_before = 0;
  int64_t bytes_after = 0;

  void SetLevels(const ActivationLevels& levels);
  [[nodiscard]] std::optional<ActivationLevels> Levels() const;
  /// Losses as parts of the energy; nothing where that is none.
  [[nodiscard]] std::optional<double> RelativeLoss() const { return Relative(loss_after); }
  [[nodiscard]] std::optional<double> RelativeLossBefore() const { return Relative(loss_before); }
  /// Any loss as a part of the energy.
  [[nodiscard]] std::optional<double> RelativeLoss(const std::optional<double>& loss) const {
    return loss.has_value() ? Relative(*loss) : std::nullopt;
  }
  [[nodiscard]] std::optional<double> RelativeActivationLoss() const {
    return RelativeLoss(activation_loss);
  }

 private:
  [[nodiscard]] std::optional<double> Relative(double loss) const;
};

/// Who sees a field: the metadata of a quantized tensor, or only the records of a run (checkpoints,
/// other ranks, other models).
enum class FieldUse { kShown, kRecord };

/// Calls visit(name, pointer to member, use) for each field, in the metadata's order.
template <class Visit>
void ForEachField(Visit&& visit) {
  visit("scaling", &Outcome::scaling, FieldUse::kShown);
  visit("alpha", &Outcome::alpha, FieldUse::kShown);
  visit("fold", &Outcome::fold, FieldUse::kShown);
  visit("bias_corrected", &Outcome::bias_corrected, FieldUse::kShown);
  visit("loss_before", &Outcome::loss_before, FieldUse::kShown);
  visit("loss_after", &Outcome::loss_after, FieldUse::kShown);
  visit("calibration_tokens", &Outcome::tokens, FieldUse::kShown);
  visit("energy", &Outcome::energy, FieldUse::kRecord);
  visit("activation_scale", &Outcome::activation_scale, FieldUse::kRecord);
  visit("activation_zero_point", &Outcome::activation_zero_point, FieldUse::kRecord);
  visit("activation_bits", &Outcome::activation_bits, FieldUse::kRecord);
  visit("activation_loss", &Outcome::activation_loss, FieldUse::kRecord);
  visit("accuracy_level", &Outcome::accuracy_level, FieldUse::kRecord);
  visit("weight_loss", &Outcome::weight_loss, FieldUse::kRecord);
  visit("nearest_loss", &Outcome::nearest_loss, FieldUse::kRecord);
  visit("propagation_loss", &Outcome::propagation_loss, FieldUse::kRecord);
  visit("site", &Outcome::site, FieldUse::kRecord);
  visit("note", &Outcome::note, FieldUse::kRecord);
  visit("bytes_before", &Outcome::bytes_before, FieldUse::kRecord);
  visit("bytes_after", &Outcome::bytes_after, FieldUse::kRecord);
}

/// Every field, bit for bit in a binary format. Found by nlohmann::json.
void to_json(nlohmann::json& json, const Outcome& outcome);
/// Throws what nlohmann::json throws.
void from_json(const nlohmann::json& json, Outcome& outcome);

/// The shown fields, and `relative_loss` behind the losses. Numbers that are not finite are null.
[[nodiscard]] nlohmann::ordered_json ShownFields(const Outcome& outcome);

}  // namespace ptq
