// An activation as linears read it whose form rounds it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ptq/runtime/value_edits.h"
#include "ptq/tensor/activation_levels.h"

namespace ptq {

/// Q(x / s)·s, where Q rounds to 256 levels between the least and the largest element of the whole
/// tensor, 0 among them: what DynamicQuantizeLinear-11 gives for x / s, in the source's
/// coordinates; or to levels that are given, as QuantizeLinear-10 does. s[K] belongs to the last
/// dimension.
class RoundedActivation : public ValueEdit {
 public:
  /// `scale`: s[K], or null.
  explicit RoundedActivation(std::shared_ptr<const std::vector<float>> scale,
                             std::optional<ActivationLevels> levels = {})
      : scale_(std::move(scale)), levels_(levels) {}
  [[nodiscard]] Tensor Of(const Tensor& value) const override;

 private:
  std::shared_ptr<const std::vector<float>> scale_;
  std::optional<ActivationLevels> levels_;
};

/// max |x| of each channel, [K], of its range.
[[nodiscard]] std::vector<float> LargestMagnitudes(std::span<const float> lowest,
                                                   std::span<const float> highest);

}  // namespace ptq
