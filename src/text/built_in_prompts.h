// The calibration texts inside the program: data/calibration/prompts.jsonl, embedded by the build.
#pragma once

#include <string_view>

namespace ptq {

/// JSON lines, UTF-8; data/calibration/README.md describes them.
[[nodiscard]] std::string_view BuiltInPrompts();

}  // namespace ptq
