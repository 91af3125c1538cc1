// Sizes and times as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace ptq {

/// "1.5 GiB", "12.0 MiB", "312 B".
[[nodiscard]] std::string FormatBytes(int64_t bytes);

/// "850 ms", "12.3 s", "4 min 05 s".
[[nodiscard]] std::string FormatSeconds(double seconds);

}  // namespace ptq
