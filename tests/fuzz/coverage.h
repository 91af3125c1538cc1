// Fuzzing led by coverage, in builds with libFuzzer (-DPTQ_LIBFUZZER=ON).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fuzz.h"

namespace ptq::fuzz {

/// Begins the word TARGET:CORPUS of a command line that libFuzzer may repeat.
inline constexpr std::string_view kAgain = "--again=";

/// Runs the target on the inputs of `corpus`, to which its seeds are added, and on what libFuzzer
/// makes of them; new ones are left there. `arguments` are libFuzzer's. Does not return when it
/// finds something.
int SearchByCoverage(const Target& target, const std::string& corpus,
                     std::vector<std::string> arguments);

}  // namespace ptq::fuzz
