// Goes from channels to the rows that feed them.
#include "bias_divisor.h"

#include <algorithm>

#include "ptq/base/error.h"

namespace ptq {

std::vector<float> BiasDivisor(const Plan& plan, const Site& site, std::span<const float> scale) {
  const auto& fold = site.fold;
  const Linear& rows = plan.linears[static_cast<size_t>(fold.linear)];
  std::vector<float> divisor(static_cast<size_t>(rows.n), 0.0f);
  for (size_t channel = 0; channel < scale.size(); ++channel) {
    const auto row = static_cast<size_t>(
        fold.row_of_channel.empty() ? static_cast<int64_t>(channel) : fold.row_of_channel[channel]);
    if (divisor[row] != 0.0f && divisor[row] != scale[channel]) {
      throw InternalError("'" + rows.name + "': one row feeds channels of different scales");
    }
    divisor[row] = scale[channel];
  }
  // Rows that feed no channel of this site stay as they are.
  std::ranges::replace(divisor, 0.0f, 1.0f);
  return divisor;
}

}  // namespace ptq
