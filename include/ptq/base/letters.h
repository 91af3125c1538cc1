// Small and capital letters of names that are ASCII: extensions, options, columns.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace ptq {

/// `text` with small letters for A-Z; all other bytes stay as they are.
[[nodiscard]] inline std::string Lower(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  return lower;
}

/// `text` with capital letters for a-z; all other bytes stay as they are.
[[nodiscard]] inline std::string Upper(std::string_view text) {
  std::string upper(text);
  std::ranges::transform(upper, upper.begin(),
                         [](char c) { return c >= 'a' && c <= 'z' ? char(c - 'a' + 'A') : c; });
  return upper;
}

}  // namespace ptq
