// The names of which a method is put together (src/quant/pieces.inc), for help and for checks.
#pragma once

#include <string>
#include <vector>

namespace ptq {

/// In the order of the list.
[[nodiscard]] std::vector<std::string> ScalingNames();
[[nodiscard]] std::vector<std::string> GridNames();
[[nodiscard]] std::vector<std::string> RoundingNames();

}  // namespace ptq
