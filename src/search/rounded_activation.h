// An activation as linears read it whose form rounds it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ptq/quant/form.h"
#include "ptq/runtime/value_edits.h"

namespace ptq {

/// Q(x / s)·s, where Q rounds to 256 levels between the least and the largest element of the whole
/// tensor, 0 among them: what DynamicQuantizeLinear-11 gives for x / s, in the source's
/// coordinates; or to levels that are given, as QuantizeLinear-10 does.
class RoundedActivation : public ValueEdit {
 public:
  /// `scale`: s[K], or null.
  explicit RoundedActivation(std::shared_ptr<const std::vector<float>> scale,
                             std::optional<StaticRounding> levels = {})
      : scale_(std::move(scale)), levels_(levels) {}
  [[nodiscard]] Tensor Of(const Tensor& value) const override;

 private:
  void Round(std::span<float> values) const;
  std::shared_ptr<const std::vector<float>> scale_;
  std::optional<StaticRounding> levels_;
};

/// max |x| of each channel, [K], of its range.
[[nodiscard]] std::vector<float> LargestMagnitudes(std::span<const float> lowest,
                                                   std::span<const float> highest);

/// The levels for x / s between the extremes of its channels; 0 is one of them. `s`: [K], or empty.
[[nodiscard]] StaticRounding LevelsFor(std::span<const float> lowest,
                                       std::span<const float> highest, std::span<const float> s);

}  // namespace ptq
