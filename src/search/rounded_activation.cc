// Divides by the channels' scale, rounds as the operators do, and multiplies again.
#include "rounded_activation.h"

#include <algorithm>

namespace ptq {

std::vector<float> LargestMagnitudes(std::span<const float> lowest,
                                     std::span<const float> highest) {
  std::vector<float> largest(highest.size());
  for (size_t j = 0; j < largest.size(); ++j) largest[j] = std::max(-lowest[j], highest[j]);
  return largest;
}

Tensor RoundedActivation::Of(const Tensor& value) const {
  Tensor rounded(DType::kFloat32, value.shape());
  const auto from = value.data<float>();
  const auto to = rounded.mutable_data<float>();
  if (scale_ == nullptr) {
    RoundToLevels(from, levels_.has_value() ? *levels_ : LevelsOf(from), to.data());
    return rounded;
  }
  const std::vector<float>& s = *scale_;
  for (size_t row = 0; row < to.size(); row += s.size()) {
    for (size_t j = 0; j < s.size(); ++j) to[row + j] = from[row + j] / s[j];
  }
  RoundToLevels(to, levels_.has_value() ? *levels_ : LevelsOf(to), to.data());
  for (size_t row = 0; row < to.size(); row += s.size()) {
    for (size_t j = 0; j < s.size(); ++j) to[row + j] *= s[j];
  }
  return rounded;
}

}  // namespace ptq
