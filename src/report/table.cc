// Pads cells by the characters of their UTF-8, and formats numbers and percentages.
#include "ptq/report/table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "ptq/base/error.h"

namespace ptq {
namespace {

/// Characters of UTF-8 text, as a terminal shows them (no wide characters are used here).
size_t Width(const std::string& text) {
  return size_t(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

void TextTable::AddRow(std::vector<std::string> cells) {
  if (cells.size() != columns_.size()) throw InternalError("a table row has the wrong cell count");
  rows_.push_back(std::move(cells));
}

std::string TextTable::Text() const {
  std::vector<size_t> widths;
  for (size_t c = 0; c < columns_.size(); ++c) {
    size_t width = Width(columns_[c].title);
    for (const auto& row : rows_) width = std::max(width, Width(row[c]));
    widths.push_back(width);
  }
  const auto line = [&](const auto& cell) {
    std::string text;
    for (size_t c = 0; c < columns_.size(); ++c) {
      const std::string& value = cell(c);
      const std::string padding(widths[c] - Width(value), ' ');
      if (c > 0) text += "  ";
      text += columns_[c].align == Align::kRight ? padding + value : value + padding;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return text + '\n';
  };
  std::string text = line([&](size_t c) -> const std::string& { return columns_[c].title; });
  for (const auto& row : rows_)
    text += line([&](size_t c) -> const std::string& { return row[c]; });
  return text;
}

std::string FormatNumber(double value, int significant) {
  if (!std::isfinite(value)) return "-";
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.*g", significant, value);
  return text.data();
}

std::string FormatPercent(double ratio) {
  if (!std::isfinite(ratio)) return "-";
  std::array<char, 32> text{};
  const double percent = 100 * ratio;
  const bool small = percent != 0 && std::abs(percent) < 1;
  std::snprintf(text.data(), text.size(), small ? "%.2g %%" : "%.1f %%", percent);
  return text.data();
}

}  // namespace ptq
