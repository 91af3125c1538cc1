// The factors that a scale of channels has for the rows of the linear which makes them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ptq/quant/spec.h"

namespace ptq {

/// Divides the quantized scales of each row by the site's scale of the channels that it feeds.
/// False when a binary16 scale would leave the range of full precision; nothing is changed then.
[[nodiscard]] bool DivideRows(std::span<const int64_t> row_of_channel, std::span<const float> scale,
                              QuantizedMatrix& q);

/// The same for what is added to the rows' outputs.
void DivideBias(std::span<const int64_t> row_of_channel, std::span<const float> scale,
                std::vector<float>& bias);

}  // namespace ptq
