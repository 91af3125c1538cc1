// Cuts a name at its first number.
#include "ptq/plan/linear_kind.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace ptq {
namespace {

bool IsNumber(std::string_view part) {
  constexpr size_t kMostDigits = 6;
  return !part.empty() && part.size() <= kMostDigits &&
         std::ranges::all_of(part, [](unsigned char c) { return std::isdigit(c) != 0; });
}

}  // namespace

LinearKind KindOfLinear(std::string_view name) {
  LinearKind found;
  std::string_view rest = name;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find_first_of("./"), rest.size());
    const std::string_view part = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (found.layer < 0) {
      if (IsNumber(part)) std::from_chars(part.data(), part.data() + part.size(), found.layer);
      continue;
    }
    found.kind += (found.kind.empty() ? "" : ".") + (IsNumber(part) ? "*" : std::string(part));
  }
  if (found.kind.empty()) found.kind = name;
  return found;
}

}  // namespace ptq
