// Divides scales and biases of rows: codes do not change when a row is multiplied.
#include "divide_rows.h"

#include <cmath>

#include "ptq/base/half.h"

namespace ptq {

bool DivideRows(std::span<const int64_t> row_of_channel, std::span<const float> scale,
                QuantizedMatrix& q) {
  const int64_t groups = q.spec.GroupsFor(q.k);
  std::vector<float> divided = q.scales;
  std::vector<bool> done(size_t(q.n));
  for (size_t channel = 0; channel < scale.size(); ++channel) {
    const int64_t row = row_of_channel[channel];
    if (done[size_t(row)]) continue;
    done[size_t(row)] = true;
    for (int64_t g = 0; g < groups; ++g) {
      float& value = divided[size_t(row * groups + g)];
      value /= scale[channel];
      if (q.spec.scale_type != ScaleType::kFloat16) continue;
      if (std::abs(value) > kHalfMax || (value != 0 && std::abs(value) < kHalfMinNormal)) {
        return false;
      }
      value = RoundToHalf(value);
    }
  }
  q.scales = std::move(divided);
  return true;
}

void DivideBias(std::span<const int64_t> row_of_channel, std::span<const float> scale,
                std::vector<float>& bias) {
  if (bias.empty()) return;
  std::vector<float> divisor(bias.size(), 1.0f);
  for (size_t channel = 0; channel < scale.size(); ++channel) {
    divisor[size_t(row_of_channel[channel])] = scale[channel];
  }
  for (size_t r = 0; r < bias.size(); ++r) bias[r] /= divisor[r];
}

}  // namespace ptq
