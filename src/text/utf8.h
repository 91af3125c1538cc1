// Checks that bytes are UTF-8 before anything else looks at them.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace ptq {

/// Offset of the first byte that is not part of well-formed UTF-8 (Unicode 15, table 3-7).
[[nodiscard]] std::optional<size_t> FirstInvalidUtf8(std::string_view bytes);

}  // namespace ptq
