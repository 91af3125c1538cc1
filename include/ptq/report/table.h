// Text tables with aligned columns, for people who read a terminal.
#pragma once

#include <string>
#include <vector>

namespace ptq {

class TextTable {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}
  /// One cell for each column. Throws InternalError otherwise.
  void AddRow(std::vector<std::string> cells);
  /// Title line and rows, two spaces between columns, no trailing blanks.
  [[nodiscard]] std::string Text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// "0.0123", "1.2e-05", "-": a number for a table.
[[nodiscard]] std::string FormatNumber(double value, int significant = 3);
/// "12.5 %", "0.0021 %".
[[nodiscard]] std::string FormatPercent(double ratio);

}  // namespace ptq
