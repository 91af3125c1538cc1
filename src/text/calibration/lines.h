// Cuts text into its lines.
#pragma once

#include <string_view>
#include <vector>

namespace ptq {

/// White space of plain text files.
inline constexpr std::string_view kBlank = " \t\r\n\v\f";

/// Whether there is nothing but white space.
[[nodiscard]] bool IsBlank(std::string_view text);

/// Lines without their ends ("\n" or "\r\n"); views of `text`.
[[nodiscard]] std::vector<std::string_view> Lines(std::string_view text);

}  // namespace ptq
