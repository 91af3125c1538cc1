// Families of the standard's operators, as a conversion to FP16 sees them.
#pragma once

#include <string>

namespace ptq {

/// One element of the output for one of each input, by arithmetic.
[[nodiscard]] bool IsElementwise(const std::string& type);
/// Moves elements, or chooses among them.
[[nodiscard]] bool MovesElements(const std::string& type);
/// Sums over an axis, where FP16 would overflow or lose digits.
[[nodiscard]] bool IsReduction(const std::string& type);
/// Where what is masked has done its work: nothing behind it knows how large the mask was.
[[nodiscard]] bool EndsMask(const std::string& type);

}  // namespace ptq
