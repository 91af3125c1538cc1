// Picks the unit in which a size or a time is short.
#include "ptq/base/format.h"

#include <array>
#include <cmath>
#include <cstdio>

namespace ptq {

std::string FormatBytes(int64_t bytes) {
  constexpr std::array<const char*, 4> kUnits = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), value < 100 ? "%.1f %s" : "%.0f %s", value, kUnits[unit]);
  return text.data();
}

std::string FormatSeconds(double seconds) {
  std::array<char, 48> text{};
  if (seconds < 1) {
    std::snprintf(text.data(), text.size(), "%.0f ms", seconds * 1000);
  } else if (seconds < 60) {
    std::snprintf(text.data(), text.size(), "%.1f s", seconds);
  } else if (seconds < 3600) {
    const auto whole = static_cast<int64_t>(std::llround(seconds));
    std::snprintf(text.data(), text.size(), "%d min %02d s", static_cast<int>(whole / 60),
                  static_cast<int>(whole % 60));
  } else {
    const auto whole = static_cast<int64_t>(std::llround(seconds / 60));
    std::snprintf(text.data(), text.size(), "%d h %02d min", static_cast<int>(whole / 60),
                  static_cast<int>(whole % 60));
  }
  return text.data();
}

}  // namespace ptq
