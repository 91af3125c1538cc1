// The versions of this program and of the libraries it runs with.
#pragma once

#include <string>

namespace ptq {

/// "1.2.3".
[[nodiscard]] std::string VersionNumber();
/// Several lines: the program's version, then one library a line.
[[nodiscard]] std::string VersionText();

}  // namespace ptq
