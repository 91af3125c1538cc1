// How a target's run ends.
#pragma once

#include <string>
#include <string_view>

#include "fuzz.h"

namespace ptq::fuzz {

/// What became of the input, without its numbers and names; throws what is a finding.
std::string Outcome(const Target& target, std::string_view input);

}  // namespace ptq::fuzz
