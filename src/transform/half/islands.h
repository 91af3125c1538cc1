// Decides which nodes compute in FP32.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "constant_facts.h"
#include "typing.h"

namespace ptq {

/// Values by name, that a graph's conversion has to mind.
struct HalfLimits {
  std::set<std::string> kept;   ///< made by nodes that the user wants as they are
  std::set<std::string> large;  ///< seen beyond kLargestSeen
};

/// Keeps in FP32 what has to be, and what lies between such nodes. Returns the constants (by value)
/// that stand for a mask and are to be clamped.
[[nodiscard]] std::set<int> FindIslands(Typing& typing, ConstantReader& constants,
                                        const HalfLimits& limits);

}  // namespace ptq
