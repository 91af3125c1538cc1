// Options like code=0.3,chat=0.7.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

namespace ptq {

using Shares = std::vector<std::pair<std::string, double>>;

/// Names and positive numbers, joined by commas; they are made to add up to 1. Throws BadValue.
[[nodiscard]] Shares ParseShares(const std::string& text);

CLI::Option* AddShares(CLI::App& app, const std::string& option, Shares& target,
                       const std::string& description);

}  // namespace ptq
