// Reads tables of text fields: comma- and semicolon-separated values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ptq {

/// One record and the line on which it begins, from 1.
struct CsvRecord {
  std::vector<std::string> fields;
  int64_t line = 0;
};

/// Records as RFC 4180 has them: a field in quotes may hold separators, line ends and doubled
/// quotes. Blank lines are left out. Throws InputError, with `name` and the line, for a quote that
/// is never closed.
[[nodiscard]] std::vector<CsvRecord> ReadCsv(std::string_view text, char separator,
                                             const std::string& name);

/// Fields between tabs, without quotes, as the STS benchmark is written.
[[nodiscard]] std::vector<CsvRecord> ReadTabs(std::string_view text);

}  // namespace ptq
